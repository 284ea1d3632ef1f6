"""Concatenations: whose pieces are computed where they lie in them, and whose are copied; against PyTorch."""
import torch
import torch.nn.functional as F

import common
from common import SCRATCH
from slow_composites import random, same
import cierge


def compiled(f, x, name, dynamic=None, **options):
    path, out = common.export(common.module(f), x, name, dynamic), SCRATCH / f"{name}.cierge"
    cierge.compile(path, output=out, require_native=True, **options)
    lines = common.cli("inspect", out).stdout.split("native kernels:")[1].split("LibTorch regions")[0].splitlines()[1:]
    return cierge.load(out).context(threads=2), [k.split()[0] for k in lines]


def check(f, x, name, copied, rtol=1e-5, **options):
    context, kernels = compiled(f, x, name, **options)
    for _ in range(2):
        same(context, f, x, rtol)
    found = sum("cat" in k or "stack" in k for k in kernels)
    assert found == copied, f"{name}: {copied} kernels that copy were expected: {kernels}"


def small(*shapes):
    return tuple(x * 0.1 for x in random(torch.float32, *shapes))


ROWS = small((8, 16), (16, 32), (16, 32), (16, 32), (32, 32))


def products(x, a, b, c, d):
    return x @ a, x @ b, x @ c


def test_rows():
    check(lambda *x: torch.cat(products(*x)).softmax(-1) @ x[4], ROWS, "cat_rows", 0)
    check(lambda *x: torch.cat(products(*x)[:2]) @ x[4], ROWS, "cat_two", 0)
    check(lambda *x: torch.stack(products(*x)) @ x[4], ROWS, "cat_stack0", 0)
    check(lambda *x: torch.stack(products(*x), 1) @ x[4], ROWS, "cat_stack1", 0)
    check(lambda *x: torch.stack([p.relu().sum(1) for p in products(*x)], 0) @ x[1][:8], ROWS, "cat_sums", 0)
    check(lambda *x: torch.cat([p.unsqueeze(0) for p in products(*x)]) @ x[4], ROWS, "cat_unsqueezed", 0)
    check(lambda *x: torch.cat([p.t() for p in products(*x)], 1).t() @ x[4], ROWS, "cat_transposed", 1)
    check(lambda *x: torch.cat([p.reshape(4, 2, 32) for p in products(*x)], 0) @ x[4], ROWS, "cat_reshaped", 1)


def test_result():
    check(lambda *x: torch.cat(products(*x)), ROWS, "cat_result", 0)
    check(lambda *x: torch.cat([p.relu() + 1 for p in products(*x)], 1), ROWS, "cat_epilogue", 0)

    def both(*x):  # a piece that is a result has memory of its own
        a, b, c = products(*x)
        return torch.cat([a, b, c]), b
    check(both, ROWS, "cat_and_piece", 1)


def test_nested():
    def f(*x):
        a, b, c = products(*x)
        return torch.cat([torch.cat([a, b]).relu() @ x[4], torch.stack([b, c]).flatten(0, 1)], 1) @ x[4].repeat(2, 1)
    check(f, ROWS, "cat_nested", 1)
    check(lambda *x: torch.cat([torch.cat(products(*x)[:2]), products(*x)[2]]) @ x[4], ROWS, "cat_in_cat", 0)
    check(lambda *x: torch.stack([torch.stack(products(*x)), torch.stack([p @ x[4] for p in products(*x)])], 1) @ x[4], ROWS, "cat_in_stack", 0)


def test_growing():
    def f(x, w):
        parts = [x @ w]
        for _ in range(3):
            whole = torch.cat(parts)
            parts.append((whole.sum(0, keepdim=True) @ w).relu())
        return torch.cat(parts) @ w
    check(f, small((4, 32), (32, 32)), "cat_growing", 0)


def test_what_is_copied():
    a, b, c = ROWS[0], ROWS[1], ROWS[4]
    check(lambda x, w, v: torch.cat([x @ w, x @ w @ v, x.repeat(1, 2)]) @ v, (a, b, c), "cat_repeat", 1)
    check(lambda x, w, v: torch.cat([v, x @ w, x @ w @ v, v.t()]) @ v, (a, b, c), "cat_parameter", 1)
    check(lambda x, w, v: (lambda p: torch.cat([p, p, p, p @ v]) @ v)(x @ w), (a, b, c), "cat_twice", 1)
    check(lambda x, w, v: torch.cat([x @ w, (x @ w @ v).double()]) @ v.double(), (a, b, c), "cat_promoted", 1)
    check(lambda x, w, v: torch.cat([x @ w[:, :3], x @ w[:, 3:7], x @ w[:, 7:8], x @ w[:, 8:]], 1) @ v, (a, b, c), "cat_short", 1)
    check(lambda x, w, v: torch.cat([(x @ w)[:5], (x @ w @ v)[2:], x @ w + 1, x @ w @ v - 1]) @ v, (a, b, c), "cat_slices", 1)
    check(lambda x, w, v: torch.cat([x @ w, torch.empty(0), x @ w @ v, (x @ w)[:0] @ v]) @ v, (a, b, c), "cat_empty", 0)


def test_reader_beside_the_last_piece():
    check(lambda x, w, v: torch.stack([(x @ w).relu(), (x @ w @ v).exp()]).sum(0) * 2, (ROWS[0], ROWS[1], ROWS[4]), "cat_reader", 0)
    check(lambda x, w: (torch.cat([x.sum(1), (x @ w).amax(1)]) * 2).flip(0) + torch.cat([x.sum(1), (x @ w).amax(1)]), small((16, 16), (16, 16)), "cat_flip", 0)


def test_convolutions():
    x, *w = small((2, 8, 6, 6), (64, 8, 3, 3), (64, 8, 1, 1), (8, 128, 3, 3))
    check(lambda x, a, b, c: F.conv2d(torch.cat([F.conv2d(x, a, padding=1).relu(), F.conv2d(x, b)], 1), c, padding=1), (x, *w), "cat_conv", 0, rtol=1e-5)

    def skip(x, a, b, c):
        y = F.conv2d(x, a, padding=1).relu()
        return F.conv2d(torch.cat([F.interpolate(F.max_pool2d(y, 2), scale_factor=2), y], 1), c, padding=1)
    check(skip, (x, *w), "cat_skip", 1, rtol=1e-5)
    check(lambda x, a, b, c: F.conv2d(torch.cat([F.conv2d(x, a, padding=1), F.conv2d(x, a, padding=1).neg()], 0), c[:, :64]), (x, *w), "cat_batches", 0, rtol=1e-5)


def test_sizes_known_late():
    d = torch.export.Dim("d", min=2, max=64)
    f = lambda x, w, v: torch.cat([x @ w, (x @ w @ v).relu(), x @ w + 1]) @ v  # noqa: E731
    context, kernels = compiled(f, (ROWS[0], ROWS[1], ROWS[4]), "cat_symbolic", ((({0: d}), None, None),))
    assert not any("cat" in k for k in kernels), kernels
    for n in (8, 2, 33):
        same(context, f, (*small((n, 16)), ROWS[1], ROWS[4]))


def test_bfloat16():
    x = random(torch.bfloat16, (8, 16), (16, 32), (32, 32))
    check(lambda x, w, v: torch.stack([x @ w, x @ w @ v, x @ w + 1, x @ w - 1]).float().sum(0), x, "cat_bf16", 0, rtol=2e-2)


# ---------------------------------------------------------------- tensors that are written slice by slice


def scatters(f, x, name):
    """Nodes that are left of the chain, in what is compiled."""
    out = common.cli("compile", common.export(common.module(f), x, name), "-o", SCRATCH / "filled.cierge", "--emit", "ir", check=0).stdout
    return out.count("_scatter(")


def test_filled():
    def steps(x, w, y, read=lambda y, h, t: h, write=lambda y, h, t: y[:, t].copy_(h)):
        h = torch.zeros(2, 16)
        for t in range(x.shape[1]):
            h = torch.tanh(x[:, t] @ w + h)
            write(y, h, t)
            h = read(y, h, t)
        return y

    x, w = small((2, 7, 16), (16, 16))
    cases = {
        "all": lambda x, w: steps(x, w, torch.zeros(2, 7, 16)),
        "read_back": lambda x, w: steps(x, w, torch.zeros(2, 7, 16), read=lambda y, h, t: y[:, t] * 2 if t % 2 else y[:, t - 1] + y[:, t]),
        "part": lambda x, w: steps(x, w, x.repeat(1, 2, 1)) * 2,
        "wrapped": lambda x, w: steps(x, w, torch.zeros(2, 7, 16), write=lambda y, h, t: y[:, -1 - t].copy_(h)),
        "twice": lambda x, w: steps(x, w, x * 1.5, write=lambda y, h, t: y[:, t // 2].copy_(h)),
        "slices": lambda x, w: steps(x, w, x.repeat(1, 3, 1), write=lambda y, h, t: y[:, 2 * t:2 * t + 3].copy_(h.unsqueeze(1).expand(2, 3, 16))),
        "integers": lambda x, w: steps(x * 9, w, torch.zeros(2, 7, 16, dtype=torch.int64)),
        "last": lambda x, w: steps(x, w, torch.ones(16, 2, 7), write=lambda y, h, t: y[..., t].copy_(h.t())),
    }
    for name, f in cases.items():
        context, _ = compiled(f, (x, w), f"filled_{name}")
        same(context, f, (x, w))
        assert not scatters(f, (x, w), f"filled_{name}"), name
    kept = {  # somebody reads what is written over, another dimension comes between, or it is not worth it
        "watched": lambda x, w: steps(x, w, x * 1.5, read=lambda y, h, t: h + y.sum(1)),
        "crossed": lambda x, w: steps(x, w, torch.zeros(2, 7, 16), write=lambda y, h, t: (y[:, t] if t % 2 else y[0]).copy_(h if t % 2 else h[0])),
        "few": lambda x, w: steps(x[:, :3], w, x * 1.5),
    }
    for name, f in kept.items():
        context, _ = compiled(f, (x, w), f"filled_{name}")
        same(context, f, (x, w))
        assert scatters(f, (x, w), f"filled_{name}"), name


if __name__ == "__main__":
    common.main(globals())
