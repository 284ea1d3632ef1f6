"""Control nodes, both dialects, native and with everything in LibTorch: scan, map, cond, while_loop; autocast regions."""
import torch
from torch import nn
from torch._higher_order_ops import scan, while_loop
from torch._higher_order_ops.map import map as map_over

import common

AUTO, Dim = torch.export.Dim.AUTO, torch.export.Dim


def by_pytorch(path, x):
    """What the saved program gives; None: PyTorch refuses these inputs."""
    try:
        with torch.no_grad():
            return torch.utils._pytree.tree_leaves(torch.export.load(path).module()(*x))
    except Exception:
        return None


def by_cierge(context, x):
    import cierge
    try:
        return [torch.from_dlpack(g).clone() for g in context.run(*x)]
    except cierge.Error:
        return None


def same(model, cases, name, dynamic=None, native=(False, True), refused=0):
    """Both dialects, all in LibTorch, and those of `native` (functional or not) without it. refused: how many cases PyTorch refuses."""
    import cierge
    for functional in (False, True):
        path = common.export(model, cases[0], f"{name}{functional}", dynamic, functional)
        want = [by_pytorch(path, x) for x in cases]
        assert sum(w is None for w in want) == refused, want
        for options in [["--backends", "torch"]] + [["--require-native"]] * (functional in native):
            alone = options[0] == "--require-native"
            artifact, _ = common.compile(path, "--verify", *options, env={"CIERGE_LIBTORCH": "none"} if alone else None)
            context = cierge.load(artifact).context()
            for x, w in zip(cases, want):
                got = by_cierge(context, x)
                assert (got is None) == (w is None), (got, w)
                for g, v in zip(got or [], w or [], strict=True):
                    common.close(g, v)
            if alone:
                got = common.run_native(artifact, **{f"input_{i}": v.numpy() for i, v in enumerate(cases[0])})
                for i, v in enumerate(want[0]):
                    g = torch.as_tensor(got[f"output_{i}"])
                    common.close(g.view(torch.bfloat16) if v.dtype == torch.bfloat16 else g, v)


class Recurrent(nn.Module):
    """Weights as further inputs of the body; two results for each step."""

    def __init__(self, **how):
        super().__init__()
        self.linear, self.how = nn.Linear(4, 4), how

    def forward(self, h, xs):
        def step(c, x):
            n = torch.tanh(self.linear(c) + x)
            return n, (n * 2, x.sum())
        return scan(step, h, xs, **self.how)


def test_scan():
    torch.manual_seed(0)
    cases = [(torch.randn(b, 4), torch.randn(t, b, 4)) for b, t in ((2, 5), (5, 1), (7, 40), (2, 2), (2, 0))]
    dynamic = {"h": {0: AUTO}, "xs": {0: Dim("t", min=0), 1: AUTO}}
    same(Recurrent(), cases, "scan", dynamic, refused=1)
    same(Recurrent(reverse=True), cases, "scan_reverse", dynamic, refused=1)
    same(Recurrent(), cases[:1], "scan_static")


class Several(nn.Module):
    """Two carried, two scanned along another dimension, swapped; integers; a carried value given back as it is."""

    def forward(self, h, n, xs, ys):
        def step(c, x):
            (a, k), (p, q) = c, x
            return [a + p.sum(), k + 1], [a + q.sum(0), q.clone(), p > 0, k * 2]
        return scan(step, [h, n], [xs, ys], dim=1)


class Swap(nn.Module):
    def forward(self, a, b, xs):
        def step(c, x):
            return (c[1].clone(), c[0].clone()), c[0] * x
        return scan(step, (a, b), xs)


def test_scan_of_several():
    torch.manual_seed(1)
    same(Several(), [(torch.randn(2), torch.tensor(3), torch.randn(3, 5), torch.randn(3, 5, 2))], "several")
    same(Swap(), [(torch.randn(3), torch.randn(3), torch.randn(n)) for n in (4, 7, 2)], "swap", {"a": None, "b": None, "xs": {0: Dim("t", min=1)}})


class Sizes(nn.Module):
    """Sizes of the outside used inside, as numbers and by way of a whole tensor."""

    def forward(self, h, xs):
        n = xs.shape[0] * 2 + 1

        def step(c, x):
            return c + x * n, c.sum(0, keepdim=True) + xs.shape[0]
        return scan(step, h, xs)


def test_scan_with_sizes():
    torch.manual_seed(2)
    same(Sizes(), [(torch.randn(d), torch.randn(t, d)) for d, t in ((4, 5), (3, 2), (9, 30))], "sizes", {"h": {0: AUTO}, "xs": {0: Dim.DYNAMIC, 1: AUTO}})


class Mapped(nn.Module):
    def forward(self, xs, y):
        k = xs.shape[0]
        return map_over(lambda x, y: (x * y + k, x.sum() + y), xs, y)


class MappedTree(nn.Module):
    def forward(self, xs, ys, w):
        return map_over(lambda x, w: {"a": x[0] * w.sum(), "b": [x[1].cos().sum(-1), x[0].argmax(-1)]}, (xs, ys), w)


def test_map():
    torch.manual_seed(3)
    cases = [(torch.randn(t, d), torch.randn(d)) for t, d in ((5, 4), (2, 7), (33, 5), (0, 4))]
    same(Mapped(), cases, "map", {"xs": {0: Dim("t", min=0), 1: AUTO}, "y": {0: AUTO}}, refused=1)
    same(MappedTree(), [(torch.randn(4, 3, 5), torch.randn(4, 2, 6), torch.randn(2))], "map_tree")


class Nested(nn.Module):
    """A map, a cond and a while_loop in the body of a scan."""

    def forward(self, h, xs):
        def step(c, x):
            y = map_over(lambda a, b: a.sin() + b.sum(), x, c)
            z = torch.cond(c.sum() > 0, lambda a: a.cos(), lambda a: a * 2, (c,))
            n, w = while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 0.5), (torch.zeros((), dtype=torch.int64), z))
            return z + y.sum(0) * 0.1, {"a": y, "b": [w.clone(), n + x.shape[0]]}
        return scan(step, h, xs)


def test_nested():
    torch.manual_seed(4)
    same(Nested(), [(torch.randn(4), torch.randn(t, 3, 4)) for t in (5, 2, 11)], "nested", {"h": None, "xs": {0: Dim.DYNAMIC}})


class HalfSteps(nn.Module):
    def forward(self, h, xs):
        return scan(lambda c, x: (c * 0.9 + x, (c + x).to(torch.float16)), h, xs)


def test_scan_of_half_precision():
    torch.manual_seed(5)
    for dtype in (torch.float16, torch.float64, torch.float32):
        same(HalfSteps(), [(torch.randn(3, 3).to(dtype), torch.randn(6, 3, 3).to(dtype))], f"half_{dtype}")


class TwoSizes(nn.Module):
    """The branches give different sizes: the size of the result appears while the program runs."""

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x[:2].clone(), lambda x: x.clone() * 2, (x,)) + 1


def test_cond_of_two_sizes():
    same(TwoSizes(), [(torch.ones(3),), (-torch.ones(3),)], "two_sizes")


class Autocast(nn.Module):
    """Operators of each rule, a region without autocast inside, one inside of no_grad, doubles. (PyTorch does not save a cond in one.)"""

    def __init__(self, dtype):
        super().__init__()
        self.dtype, self.linear, self.conv = dtype, nn.Linear(6, 5), nn.Conv1d(2, 3, 3)

    def forward(self, x, y):
        with torch.autocast("cpu", dtype=self.dtype):
            a = self.linear(x)                                         # lower
            b = torch.softmax(a.relu(), -1)                            # as it comes
            c = torch.cat([a, x[..., :5]], -1)                         # the widest
            d = torch.cat([a, b])
            e = nn.functional.mse_loss(a, b)                           # single
            f = x @ x.mT + 1                                           # lower, then as it comes
            g = self.conv(x[:, None].expand(-1, 2, -1))
            with torch.autocast("cpu", enabled=False):
                i = x @ x.mT
            k = torch.matmul(y, y.mT)                                  # double
            l = torch.prod(a, -1)                                      # single
        with torch.no_grad(), torch.autocast("cpu", dtype=self.dtype):
            j = torch.mm(x, x.mT)
        return a, b, c, d, e, f, g, i, j, k, l, x @ x.mT


def test_autocast():
    torch.manual_seed(6)
    for dtype in (torch.bfloat16, torch.float16):
        cases = [(s * torch.rand(n, 6), torch.randn(n, 3).double()) for n, s in ((4, 1.0), (7, -1.0))]
        same(Autocast(dtype), cases, f"autocast_{dtype}", {"x": {0: AUTO}, "y": {0: AUTO}})


class OtherDevice(nn.Module):
    def forward(self, x):
        with torch.autocast("cuda", dtype=torch.float16):
            return x @ x


class CastInside(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.einsum("ij,jk->ik", x, x)


def test_autocast_elsewhere():
    torch.manual_seed(7)
    same(OtherDevice(), [(torch.randn(3, 3),)], "autocast_cuda")
    path = common.export(CastInside(), (torch.randn(3, 3),), "cast_inside")
    r = common.cli("compile", path, "-o", common.SCRATCH / "x.cierge", check=4)
    assert "aten::einsum" in r.stderr and "run_decompositions()" in r.stderr, r.stderr
    path = common.export(CastInside(), (torch.randn(3, 3),), "cast_inside", functional=True)
    common.compile(path)


class Resized(nn.Module):
    """To fewer elements and back to its own, seen through views; to more, the new ones left out; set_."""

    def forward(self, x):
        a = x.clone()
        b = a[0]
        a.resize_(2, 3)
        a.mul_(2)
        c = x.clone().resize_(4, 4)
        d = x + 1
        d.resize_(5, 5)
        d = torch.where(torch.arange(25).view(5, 5) < 16, d, 7)
        e, f = x.clone(), x * 3
        e.set_(f)
        e.add_(1)
        g = x.clone()
        g.resize_as_(a)
        return a, b, c, d, e, f, g


def test_changed_memory():
    torch.manual_seed(8)
    same(Resized(), [(torch.randn(4, 4),)], "resized", native=(False,)) # aten::resize is LibTorch's


class Prims(nn.Module):
    """Python-only operators with an ATen equivalent."""

    def forward(self, x, y):
        p = torch.ops.prims
        a = p.convert_element_type(x, torch.float64)
        b = p.fmod(p.mul(x, y), y)
        c = p.where(p.gt(x, y), x, y)
        d = p.sum(x, [1])
        e = p.full([2, 3], 5, dtype=torch.int32, device=torch.device("cpu"), requires_grad=False)
        f = p.rev(p.reshape(p.cat([x, y], 0), [2, 3, 4]), [0, 2])
        return a, b, c, d, e, f, p.rsqrt(p.abs(x)), p.erf_inv(p.tanh(x)), p.pow(p.abs(x), y)


def test_prims():
    torch.manual_seed(9)
    same(Prims(), [(torch.randn(3, 4), torch.randn(3, 4))], "prims")
    path = common.export(Unknown(), (torch.randn(3),), "unknown_prim")
    r = common.cli("compile", path, "-o", common.SCRATCH / "x.cierge", check=4)
    assert "prims::cbrt" in r.stderr and "run_decompositions()" in r.stderr, r.stderr


class Unknown(nn.Module):
    def forward(self, x):
        return torch.ops.prims.cbrt(x)


def test_inspect_shows_control():
    path = common.export(Nested(), (torch.randn(4), torch.randn(5, 3, 4)), "inspected")
    text = common.cli("inspect", common.compile(path)[0], check=0).stdout
    for line in ("scan", "map_impl", "cond", "while_loop"):
        assert f"higher_order.{line}" in text, text


if __name__ == "__main__":
    common.main(globals())
