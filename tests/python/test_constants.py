"""What depends on constants alone is computed by the compiler."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import common
import cierge


def compiled(model, inputs, name, functional=False, **options):
    """(result, artifact, kernels)"""
    model.eval().requires_grad_(False)
    path = common.export(model, inputs, name, functional=functional)
    artifact = path.with_suffix(".cierge")
    cierge.compile(path, output=artifact, **options)
    text = common.cli("inspect", artifact, check=0).stdout
    kernels = int(text.split("native kernels: ")[1].split()[0]) if "native kernels: " in text else 0
    return [torch.from_dlpack(t) for t in cierge.load(artifact).context(threads=1).run(*inputs)], artifact, kernels


def agrees(model, inputs, name, kernels, **options):
    for functional in (False, True):
        got, artifact, n = compiled(model, inputs, name, functional, **options)
        want = model(*inputs)
        for g, w in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
            common.close(g, w)
        assert kernels in (None, n), f"{name}: {n} kernels, not {kernels}"
    return artifact


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.g = nn.Parameter(torch.randn(32, 64)), nn.Parameter(torch.rand(32, 1))

    def forward(self, x):
        return F.linear(x, self.w * (self.g / self.w.norm(dim=1, keepdim=True)))


def test_norms_of_weights():
    artifact = agrees(Scaled(), (torch.randn(7, 64),), "scaled", 1)
    assert artifact.stat().st_size < 60000, artifact.stat().st_size
    agrees(parametrizations.weight_norm(nn.Conv1d(8, 16, 5)), (torch.randn(2, 8, 20),), "weight", 1)
    agrees(parametrizations.spectral_norm(nn.Linear(24, 16)), (torch.randn(5, 24),), "spectral", 1, require_native=True)


def test_tables():
    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.place = nn.Embedding(31, 4), nn.Embedding(32, 8)
            self.register_buffer("frequency", 1 / 100 ** (torch.arange(0, 8.) / 8))
            self.qkv = nn.Parameter(torch.randn(24, 8))

        def forward(self, x):  # [2, 16, 8]
            at = torch.arange(16)
            x = x + self.place(at) + torch.outer(at.float(), self.frequency).sin()
            q, k, v = (F.linear(x, w) for w in self.qkv.chunk(3))
            return F.softmax(q @ k.transpose(1, 2) / 8 + self.bias(at[:, None] - at + 15)[..., 0], -1) @ v

    got, artifact, _ = compiled(m := Tables(), (x := torch.randn(2, 16, 8),), "tables")
    common.close(got[0], m(x))
    ir = common.cli("compile", artifact.with_suffix(".pt2"), "-o", artifact, "--emit", "ir", check=0).stdout
    for op in ("embedding", "sin", "outer", "arange", "chunk", "split"):
        assert f"aten.{op}" not in ir, op


def test_the_same_bytes():
    for k in range(2):
        _, artifact, _ = compiled(Scaled(), (torch.ones(3, 64),), "bytes")
        path = artifact.with_suffix(".pt2")
        again = path.with_name(f"again{k}.cierge")
        cierge.compile(path, output=again)
        assert artifact.read_bytes() == again.read_bytes()


def test_what_stays_in_the_call():
    class Large(nn.Module):  # much larger than what it is made of
        def __init__(self):
            super().__init__()
            self.register_buffer("a", torch.randn(4000))

        def forward(self, x):
            return (torch.zeros(50_000_000) + x)[:2] + (self.a[:, None] * self.a)[7, 5:7].exp(), self.a.expand(5000, 4000)[3] + x

    _, artifact, _ = compiled(Large(), (torch.ones(()),), "large")
    assert artifact.stat().st_size < 200000, artifact.stat().st_size

    class Counts(nn.Module):  # state
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(3))

        def forward(self, x):
            y = x + self.n.cos()
            self.n.add_(1)
            return y

    path = common.export(Counts(), (torch.zeros(3),), "counts")
    cierge.compile(path, output=path.with_suffix(".cierge"))
    context = cierge.load(path.with_suffix(".cierge")).context(threads=1)
    for k in range(3):
        common.close(torch.from_dlpack(context.run(torch.zeros(3))[0]), torch.full((3,), float(k)).cos())

    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("p", torch.full((4000,), 0.5))

        def forward(self, x):
            return torch.bernoulli(self.p) + x

    path = common.export(Draws(), (torch.zeros(4000),), "draws")
    cierge.compile(path, output=path.with_suffix(".cierge"))
    context = cierge.load(path.with_suffix(".cierge")).context(threads=1)
    a, b = (torch.from_dlpack(context.run(torch.zeros(4000))[0]).clone() for _ in range(2))
    assert not torch.equal(a, b)


def test_errors_stay_in_the_call():
    """Of two gathers one is out of range: the call raises, and the other one is computed in advance all the same."""
    text = ("param @t: f32[4, 8]\nparam @i: i64[3]\nparam @j: i64[3]\nfn @main(%x: f32[3, 8], %b: bool[]) -> (f32[3, 8]) {\n"
            "  %0: f32[3, 8] = aten.embedding(@t, @i)\n  %1: f32[3, 8] = aten.embedding(@t, @j)\n  %2: f32[3, 8] = aten.exp(%0)\n  %3: f32[3, 8] = aten.exp(%1)\n"
            "  %4: f32[3, 8] = aten.add.Tensor(%x, %2)\n  %5: f32[3, 8] = aten.add.Tensor(%4, %3)\n  return %5\n}\n")
    path = common.SCRATCH / "errors.cir"
    path.write_text(text)
    from safetensors.torch import save_file
    save_file({"t": torch.randn(4, 8), "i": torch.tensor([0, 3, 1]), "j": torch.tensor([0, 4, 1])}, path.with_suffix(".safetensors"))
    artifact = path.with_suffix(".cierge")
    ir = common.cli("compile", path, "-o", artifact, "--emit", "ir", check=0).stdout
    assert ir.count("aten.exp") == 1, ir
    context = cierge.load(artifact).context(threads=1)
    try:
        context.run(torch.zeros(3, 8), torch.tensor(True))
        raise AssertionError("the index 4 of 4 rows was read")
    except cierge.Error as e:
        assert "index" in str(e), e


def test_norms_behind_layers():
    def with_statistics(model):
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                m.running_mean.normal_(), m.running_var.uniform_(0.5, 2), m.weight.data.normal_(), m.bias.data.normal_()
        return model

    cases = {
        "linear": (nn.Sequential(nn.Linear(16, 24), nn.BatchNorm1d(24)), torch.randn(5, 16)),
        "transposed": (nn.Sequential(nn.ConvTranspose2d(4, 8, 3, 2, groups=2), nn.BatchNorm2d(8)), torch.randn(2, 4, 9, 9)),
        "weight": (nn.Sequential(parametrizations.weight_norm(nn.Conv1d(4, 8, 3)), nn.BatchNorm1d(8)), torch.randn(2, 4, 9)),
    }
    for name, (model, x) in cases.items():
        artifact = agrees(with_statistics(model), (x,), f"norm_{name}", 1)
        for path in (common.SCRATCH / f"norm_{name}.pt2", common.SCRATCH / f"norm_{name}-f.pt2"):
            ir = common.cli("compile", path, "-o", artifact, "--emit", "ir", check=0).stdout
            assert "aten.batch_norm" not in ir and "aten.sub" not in ir, ir
    inner = nn.Sequential(nn.Linear(16, 24, bias=False), nn.BatchNorm1d(6))  # channels are not the layer's
    agrees(with_statistics(inner), (torch.randn(5, 6, 16),), "norm_inner", None)


common.main(globals())
