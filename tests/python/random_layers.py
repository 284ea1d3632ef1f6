"""Random small nets: convolutions, linear layers and products, with all that an optimiser might merge into them.

Each is compiled native, left to LibTorch in every mode, and, where TorchScript takes it, carried as a script of
its own (torchop); all of them are called several times and held to eager PyTorch.
`python tests/python/random_layers.py --seed N --count M` goes through seeds N to N+M-1. slow_torch_modes.py runs
a few, slow_random_layers.py more."""
import argparse
import random
import subprocess
import sys
import traceback

import torch
import torch.nn.functional as F
from common import CIERGE, SCRATCH  # also finds cierge
from torch import nn

import cierge

nan, inf = float("nan"), float("inf")
CLAMPS = (-1, 1), (-.5, .5), (None, 1), (0, None), (.25, None), (None, .5), (0, 6.), (1, -1)
ACTIVATIONS = (
    nn.ReLU(), nn.ReLU(True), nn.ReLU6(), nn.ReLU6(True), nn.Hardtanh(), nn.Hardtanh(-3, 3), nn.Hardtanh(0., 2.),
    nn.Hardtanh(-1, 2, inplace=True), nn.Hardswish(), nn.Hardswish(True), nn.Hardsigmoid(), nn.Sigmoid(),
    nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.LeakyReLU(0.2), nn.LeakyReLU(2), nn.ELU(), nn.ELU(2),
    nn.ELU(0.5, True), nn.SiLU(), nn.SiLU(True), nn.Mish(), nn.Softplus(), nn.Softsign(), nn.CELU(0.7), nn.SELU(),
    nn.LogSigmoid(), nn.PReLU(), nn.Threshold(0.1, 20), nn.Threshold(1, -1), nn.Hardshrink(), nn.Tanhshrink(),
    nn.Dropout(0.5), *(lambda y, a=a: torch.clamp(y, *a) for a in CLAMPS),
    lambda y: y.clamp_(-2, 2), lambda y: y.clamp_min(0), lambda y: y.clamp_max_(1),
    lambda y: torch.clamp(y, torch.tensor(-1.), torch.tensor(2.)), lambda y: torch.sigmoid_(y),
    lambda y: y.mul_(0.5).add_(1), lambda y: y * 2 - 1, lambda y: y.relu_() * y, lambda y: 1 - y,
    lambda y: y / 3, lambda y: y.neg().exp())


class Fn(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


class Plus(nn.Module):
    """Of what went in and what came out: a sum or something else of two."""
    def __init__(self, f, kind):
        super().__init__()
        self.f, self.kind = f, kind

    def forward(self, x):
        y = self.f(x)
        if x.shape != y.shape:
            return y
        return (lambda: x + y, lambda: y + x, lambda: torch.add(y, x, alpha=2), lambda: torch.relu(x + y),
                lambda: y * x, lambda: torch.maximum(y, x), lambda: y - x, lambda: y.add_(x))[self.kind]()


class Both(nn.Module):
    """Two ways side by side, put together again."""
    def __init__(self, f, g):
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x):
        return torch.cat([self.f(x), self.g(x)], -1)


class Special(nn.Module):
    """NaN, infinities and zeros among the values, from here on elementwise."""
    def __init__(self):
        super().__init__()
        self.register_buffer("at", torch.tensor([0, nan, inf, -inf, 0, 1e30, -1e30]))

    def forward(self, x):
        return x + self.at.repeat(x.shape[-1])[: x.shape[-1]].to(x.dtype)


class Product(nn.Module):
    def __init__(self, n, m, kind):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(n, m) / n**0.5), nn.Parameter(torch.randn(m))
        self.kind = kind

    def forward(self, x):
        if self.kind == 2:
            return torch.addmm(self.b, x.reshape(-1, x.shape[-1]), self.w)
        return x @ self.w + self.b if self.kind else torch.matmul(x, self.w)


def activation(r):
    a = r.choice(ACTIVATIONS)
    return a if isinstance(a, nn.Module) else Fn(a)


def conv(r, dims, n, m):
    kind = (None, nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims]
    groups = r.choice([g for g in (1, 1, 1, 2, 4) if n % g == 0 and m % g == 0])
    k, stride = r.choice((1, 2, 3, 3)), r.choice((1, 1, 2))
    padding = r.choice((0, 1, 1, "same", "valid"))
    mode = r.choice(("zeros",) * 5 + ("circular",)) if padding != "same" else "zeros"
    stride = 1 if padding == "same" else stride
    return kind(n, m, k, stride, padding, r.choice((1, 1, 2)), groups, r.random() < 0.7, mode)


def transposed(r, dims, n, m):
    kind = (None, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims]
    return kind(n, m, r.choice((2, 3)), r.choice((1, 2)), r.choice((0, 1)), bias=r.random() < 0.7)


def norm(r, dims, n):
    bn = (None, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims](n, affine=r.random() < 0.8)
    bn.running_mean.normal_(), bn.running_var.uniform_(0.5, 2)
    if r.random() < 0.2:
        return Fn(lambda x: F.batch_norm(x, None, None, training=True))
    return bn


def convolutional(r, dims, batched):
    n, layers = r.choice((1, 2, 3, 4, 8)), []
    for _ in range(r.randint(1, 3)):
        m, after = r.choice((n, n, 2, 4, 8)), []
        layer = conv(r, dims, n, m) if r.random() < 0.8 else transposed(r, dims, n, m)
        if batched and r.random() < 0.4:
            after.append(norm(r, dims, m))
        for _ in range(r.choice((0, 1, 1, 2, 3))):
            after.append(activation(r))
        layer = nn.Sequential(layer, *after)
        if n == m and r.random() < 0.5:
            layer = Plus(layer, r.randrange(8))
        elif r.random() < 0.2:
            layer = Both(layer, nn.Sequential(*layer))
        layers.append(layer)
        if r.random() < 0.2:
            layers.append(getattr(nn, f"{r.choice(('Max', 'Avg'))}Pool{dims}d")(2, 1))
        n = m
    return layers


def linear(r, n):
    layers = []
    for _ in range(r.randint(1, 4)):
        m = r.choice((n, n, 1, 4, 7, 16))
        layer = nn.Linear(n, m, r.random() < 0.7) if r.random() < 0.6 else Product(n, m, r.randrange(3))
        layer = nn.Sequential(layer, *(activation(r) for _ in range(r.choice((0, 1, 2)))))
        layers.append(Plus(layer, r.randrange(8)) if r.random() < 0.4 else layer)
        n = m
    return layers


def net(seed):
    """(module, make(k) of the k-th call's input, whether the first size is dynamic)"""
    r = random.Random(seed)
    torch.manual_seed(seed)
    dtype = r.choice((torch.float32,) * 5 + (torch.float64, torch.bfloat16, torch.float16))
    dims, batched = r.choice((0, 1, 2, 2, 2, 3)), r.random() < 0.8
    if dims:
        layers = convolutional(r, dims, batched)
        first = next(m for m in nn.Sequential(*layers).modules() if hasattr(m, "in_channels"))
        size = (first.in_channels, *(r.randint(7, 9 if dims == 3 else 12) for _ in range(dims)))
    else:
        size = (*((r.randint(1, 4),) if r.random() < 0.3 else ()), r.choice((1, 3, 8, 16)))
        layers, batched = linear(r, size[-1]), True
    if r.random() < 0.4:
        layers += [Special(), activation(r), activation(r)]
    last = r.random() < 0.25 and dims == 2 and batched
    module = nn.Sequential(*layers).eval().to(dtype)
    if last:
        module = module.to(memory_format=torch.channels_last)
    dynamic = batched and dims and r.random() < 0.4

    def make(k):
        batch = ((3, 3, 1, 6)[k] if dynamic else 2,) if batched and dims else ()
        x = torch.randn((*batch, *size), generator=torch.Generator().manual_seed(seed * 10 + k)) * 2
        return x.to(dtype, memory_format=torch.channels_last if last else torch.preserve_format)
    return module, make, dynamic


def near(got, want, exact):
    """PyTorch's tolerance, or no further from float64 than twice what PyTorch is (as tests/conformance)."""
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    try:
        torch.testing.assert_close(got, want.contiguous(), equal_nan=True)
    except AssertionError:
        finite = exact.isfinite() & want.isfinite()
        assert torch.equal(got.isnan(), want.isnan()) and torch.equal(got.isinf(), want.isinf())
        error = [(t.double() - exact)[finite].abs().max() if finite.any() else 0 for t in (got, want)]
        if error[0] > 2 * error[1]:
            raise


def torchop(module, x, path):
    """The net as a script of a program's, or None where TorchScript does not take it."""
    try:
        traced = torch.jit.trace(module, (x,), check_trace=False)
        torch.jit.save(traced, path.with_suffix(".pt"))
    except Exception:
        return None
    words = [CIERGE, "blob", "-d", path.with_suffix(".blobs"), path.with_suffix(".pt")]
    line = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    name = line.split()[1]
    types = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16"}
    want = module(x.clone())
    kind = lambda t: f"{types[t.dtype]}[{', '.join(map(str, t.shape))}]"  # noqa: E731
    body = f"%y: {kind(want)} = torchop(%x, script={name})"
    path.with_suffix(".cir").write_text(f"{line}\nfn @main(%x: {kind(x)}) {{\n  {body}\n  return %y\n}}\n")
    return path.with_suffix(".cir")


def check(seed):
    module, make, dynamic = net(seed)
    calls = range(4 if dynamic else 2)
    with torch.no_grad():
        try:
            wanted = [module(make(k).clone()) for k in calls]
            exact = [module.double()(make(k).double()) for k in calls]
            module.to(wanted[0].dtype)
            path = SCRATCH / f"layers{seed}.pt2"
            shapes = ({0: torch.export.Dim("b", min=1, max=64)},) if dynamic else None
            program = torch.export.export(module, (make(0),), strict=False, dynamic_shapes=shapes)
            torch.export.save(program, path)
        except Exception as e:
            return f"PyTorch itself: {str(e).splitlines()[0][:100]}"
        programs = {m: (path, {"backends": "torch", "torch_mode": m}) for m in ("auto", "ops", "script")}
        programs["native"] = path, {}
        script = None if dynamic else torchop(module, make(0), path)
        if script:
            programs["torchop"] = script, {}
        for name, (source, options) in programs.items():
            try:
                cierge.compile(source, output=path.with_suffix(".cierge"), **options)
                context = cierge.load(path.with_suffix(".cierge")).context(threads=1)
                got = [torch.from_dlpack(context.run(make(k))[0]) for k in calls]
                for g, w, e in zip(got, wanted, exact):
                    near(g, w, e)
            except Exception as e:
                raise AssertionError(f"{name}: {e}") from e


def run(first, count):
    failed = skipped = 0
    for seed in range(first, first + count):
        try:
            why = check(seed)
            skipped += why is not None
        except Exception as e:
            failed += 1
            text = " ".join(str(e).split())[:400]
            print(f"FAILED seed {seed}: {text}\n{net(seed)[0]}", flush=True)
            if "-v" in sys.argv:
                traceback.print_exc()
    print(f"{count - failed - skipped} passed, {failed} failed, {skipped} not done by PyTorch")
    return failed


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--count", type=int, default=100)
    p.add_argument("-v", action="store_true")
    a = p.parse_args()
    sys.exit(bool(run(a.seed, a.count)))
