"""The C that is generated: names; what C leaves undefined; how much of it is given to the C compiler at once."""
import resource

import torch
import torch.nn.functional as F

import common  # finds cierge
import cierge


def run(path, *inputs):
    cierge.compile(path, output=f"{path}.cierge", require_native=True)
    return [torch.from_dlpack(t) for t in cierge.load(f"{path}.cierge").context(threads=1).run(*inputs)]


def test_names():
    """Two loops of one kernel that compute several places at a time; sizes named like variables."""
    def two(x):
        y = F.softmax(F.leaky_relu(F.pad(x, [40, 0], mode="replicate")), 0)
        return y.min(1)[0], F.gelu(y)
    for dtype in (torch.float16, torch.bfloat16):
        for n in (45, 64):
            torch.manual_seed(n)
            x = torch.randn(n, 1, 1).to(dtype)
            for got, want in zip(run(common.export(common.module(two), (x,), "two"), x), two(x)):
                common.close(got, want)
    names = ("threads", "int", "t0", "i0", "w")
    path = common.SCRATCH / "sizes.cir"
    path.write_text("".join(f"sym {s} = 1..100\n" for s in names) + "fn @main(%x: f32[{0}, {1}, {2}, {3}, {4}]) -> f32[{0}, {1}, {2}, {4}] {{\n"
                    "  %y = aten.mul.Tensor(%x, %x)\n  %z = aten.sum.dim_IntList(%y, dim=[3])\n  return %z\n}}\n".format(*names))
    x = torch.randn(2, 3, 4, 5, 6)
    common.close(run(path, x)[0], (x * x).sum(3))


def test_names_in_comments():
    """Nothing that a model is called ends a comment, or joins the line of code behind it to the comment."""
    names = ["a\n#error a line of its own\n//", "b\\", "c??/", "d\r#error", "*/ int x; /*", "e\x1b[2J"]

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for n in names:
                self.add_module(n, torch.nn.Softplus())

        def forward(self, x):
            for n in names:
                x = getattr(self, n)(x) * 1.5
            return x
    x = torch.randn(4)
    common.close(run(common.export(Named(), (x,), "named"), x)[0], Named()(x))


INF = float("inf")
NUMBERS = [INF, -INF, float("nan"), 3e9, -3e9, 3000000123.0, -3000000123.0, 2.0**31, -2.0**31, -2.0**31 - 512, 2.0**32 + 512, 2.0**40 + 2.0**20 + 77, 2.0**63,
           -2.0**63, 1e20, -1e20, 1e38, 300.0, -1.0, -129.0, 128.0, 255.5, 65536.5, -70000.0, 40000.0, -0.5, 0.9]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]


def test_loops_over_columns():
    """Whose pieces are cut again where arguments are near or far (slow_pairs.py has every row in every kind of loop)."""
    for dtype in FLOATS:
        x = torch.randn(11, 70, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
        for f in (lambda x: x.softmax(0) * 2, lambda x: x.softmax(0).cos(), lambda x: (x - x.amax(0)).sin()):
            common.close(run(common.export(common.module(f), (x,), "columns"), x)[0], f(x))


def test_places_of_extremes():
    """The first of equal elements, the first NaN before all of them, -0 like 0: rows of every length are searched by integers."""
    def places(x):
        return x.argmax(), x.argmin(), *x.max(-1), *x.min(-1)
    for dtype in FLOATS + INTEGERS[:-1]:
        some = torch.tensor([-INF, INF, float("nan"), 0.0, -0.0, 1.0, -1.0] if dtype.is_floating_point else [torch.iinfo(dtype).min, torch.iinfo(dtype).max, 0, 1, 3]).to(dtype)
        for rows, n in ((40, 1), (30, 7), (20, 100)):
            few = torch.randint(1, len(some) + 1, (rows, 1))  # of how many kinds the elements of a row are
            x = some[(torch.rand(rows, n) * few).long()]
            for got, want in zip(run(common.export(common.module(places), (x,), "places"), x), places(x)):
                common.close(got, want)


def test_conversions():
    """Floats as integers, whether the C compiler knows the number or not, are what eager gives, in and out of range."""
    def inputs(n):
        return [torch.tensor(NUMBERS, dtype=torch.float64).repeat(n).to(t) for t in FLOATS]

    def given(*x):
        whole = [y.to(i) for y in x for i in INTEGERS]
        return *whole, *[y.cumsum(0, dtype=i) for y in x[:2] for i in INTEGERS[3:5]], *[y[::3].sum(dtype=i) for y in x for i in INTEGERS[3:5]]

    def known(*x):
        zero = (x[0].isnan() & x[0].isinf())[:2]
        return tuple(torch.stack([torch.full((2,), v, dtype=f).to(i) ^ zero.to(i) for v in NUMBERS[:8] + NUMBERS[-4:]]) for f in FLOATS[:2] for i in INTEGERS)
    path = common.export(common.module(given), tuple(inputs(3)), "given")
    for got, want in zip(run(path, *inputs(3)), given(*inputs(3))):
        assert torch.equal(got, want), (got, want)
    x = tuple(inputs(1))
    for i, (got, want) in enumerate(zip(run(common.export(common.module(known), x, "known"), *x), known(*x))):
        assert torch.equal(got, want), (i, got, want)


def test_growth():
    """A chain twice as long takes twice the time: kernels, and C files, have a bounded size."""
    def spent(n):
        path = common.SCRATCH / f"chain{n}.cir"
        steps = ("aten.mul.Scalar(%x{}, 1.0001)", "aten.add.Scalar(%x{}, 0.5)", "aten.relu(%x{})", "aten.sub.Scalar(%x{}, 0.25)")
        path.write_text("fn @main(%x0: f32[100]) -> f32[100] {\n" + "".join(f"  %x{i + 1} = {steps[i % 4].format(i)}\n" for i in range(n))
                        + f"  return %x{n}\n}}\n")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        common.compile(path, "--require-native", env={"CIERGE_CACHE": "none"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    short, long = spent(400), spent(1600)
    assert long < 6 * short + 0.5, (short, long)


if __name__ == "__main__":
    common.main(globals())
