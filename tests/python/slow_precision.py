"""--precision: constant weights of products in fewer bits, against the same rounding done by PyTorch in float64."""
import torch
from torch import nn

import common  # finds cierge
import cierge

SIZES = [(64, 64), (129, 70), (300, 33), (257, 200), (5, 3)]  # depth, columns
TARGETS = common.TARGETS + ["x86-64-v4+vnni"] * common.VNNI
PRECISIONS = "bf16", "int8-dynamic", "int4-weight"


def by_column(x, size):
    """x[depth, columns] in groups of `size` rows, and their number."""
    pad = -x.shape[0] % size
    return torch.cat([x, x.new_zeros(pad, x.shape[1])]).reshape(-1, size, x.shape[1])


def rounded(weight, precision):
    """What the weights [columns, depth] are worth then."""
    w = weight.t().double()
    if precision == "bf16":
        return weight.t().bfloat16().double()
    if precision == "int8-dynamic":
        scale = (w.abs().amax(0) / 127).float().double()
        return torch.where(scale > 0, torch.round((w / scale).float().double()), 0) * scale
    g = by_column(w, 128)
    most = g.gather(1, g.abs().argmax(1, keepdim=True))
    scale = (most / -8).float().double()
    q = torch.where(scale != 0, torch.round((g / scale).float().double()), 0).clamp(-8, 7)
    return (q * scale).reshape(-1, w.shape[1])[:w.shape[0]]


def rows_rounded(x):
    scale = x.abs().amax(-1, keepdim=True) / 127
    by = torch.tensor(127.0) / x.abs().amax(-1, keepdim=True)  # not 127 / …, which PyTorch rounds twice
    return torch.where(scale > 0, torch.round(x * by), 0).double() * scale.double()


class Products(nn.Module):
    def __init__(self, sizes=SIZES):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(k, n) for k, n in sizes)
        self.layers[0].weight.data[1] = 0

    def forward(self, x):
        return [layer(x[:, :layer.in_features]) for layer in self.layers]


def compiled(model, x, *options, dynamic=None):
    path = common.export(model, (x,), "low", dynamic)
    artifact, _ = common.compile(path, "--require-native", *options)
    return artifact


def called(artifact, x, threads=1):
    context = cierge.load(artifact).context(threads=threads)
    context.set_input(0, x)
    context.call()
    return [torch.from_dlpack(context.output(i)).clone() for i in range(len(context.program.outputs))]


def judge(artifact, model, precision, say, dtype=torch.float32, eps=0.0, least=0.0):
    """Results for several numbers of rows against the same rounding in float64, to `eps` of the result and `least`; for two threads as for one."""
    for n in (0, 1, 3, 17, 40):
        x = torch.randn(n, max(k for k, _ in SIZES)).to(dtype)
        got = called(artifact, x)
        assert all(torch.equal(a, b) for a, b in zip(got, called(artifact, x, 2)))
        for layer, y in zip(model.layers, got):
            a, w, bias = x[:, :layer.in_features].float(), layer.weight.detach(), layer.bias.detach().double()
            a = rows_rounded(a) if precision == "int8-dynamic" else a.double()
            w = rounded(w.float(), precision) if precision in PRECISIONS else w.t().double()
            exact = a @ w + bias
            wrong = (y.double() - exact).abs() > 1e-6 * (a.abs() @ w.abs() + 1) + eps * exact.abs() + least
            assert y.dtype == dtype and y.shape == wrong.shape and not wrong.any(), f"{say} {precision} {n} rows, {layer}: {wrong.sum()} of {wrong.numel()}"


ROWS = {0: torch.export.Dim("rows", min=0, max=64)}


def test_products():
    torch.manual_seed(0)
    model = Products().eval()
    for target in TARGETS:
        for precision in PRECISIONS:
            x = torch.randn(8, max(k for k, _ in SIZES))
            judge(compiled(model, x, "--precision", precision, "--target", target, dynamic=(ROWS,)), model, precision, target)


def test_halves():
    """Weights that are half precision in the model stay so; in fewer bits they are rounded as floats are."""
    torch.manual_seed(3)
    for dtype, eps, least, kept in (torch.bfloat16, 2.0**-8, 0, "bf16"), (torch.float16, 2.0**-11, 2.0**-24, "f16"):
        model = Products().eval().to(dtype)
        model.layers[0].weight.data[2, :3] = torch.tensor([6e-8, 3e-5, -1.5e-5])  # denormal in float16
        for target in TARGETS:
            for precision in ("f32", *PRECISIONS):
                x, as_they_are = torch.randn(8, max(k for k, _ in SIZES)).to(dtype), precision in ("f32", "bf16")
                artifact = compiled(model, x, "--precision", precision, "--target", target, dynamic=(ROWS,))
                said = common.cli("inspect", artifact, check=0).stdout
                if target != "x86-64-v2":
                    assert said.count(f"weights {kept if as_they_are else precision}") == len(model.layers), f"{target} {precision} {said}"
                judge(artifact, model, "f32" if as_they_are else precision, f"{dtype} {target}", dtype, eps, least)


def test_what_is_not_finite():
    model = nn.Linear(40, 20).eval()
    x = torch.randn(4, 40)
    x[1, 3], x[2, 0], x[3] = float("nan"), float("inf"), 0
    for precision in PRECISIONS:
        got, = called(compiled(model, x, "--precision", precision), x)
        assert got[0].isfinite().all() and got[1].isnan().all() and not got[2].isfinite().any()
        torch.testing.assert_close(got[3], model.bias.detach())


def by_dots(model, x):
    """With AVX512-BF16, for any number of rows, where this processor has it."""
    rows = torch.export.Dim("rows", min=0, max=400)
    for target in ["x86-64-v4+vnni+bf16"] * common.BF16:
        artifact = compiled(model, x, "--precision", "bf16", "--target", target, dynamic=({0: rows},))
        said = common.cli("inspect", artifact, check=0).stdout
        assert "processor: x86-64-v4+bf16\n" in said and said.count("rows bf16, weights bf16") == len(list(model.parameters())) // 2, said
        yield artifact


def test_dots():
    torch.manual_seed(1)
    model = Products([(64, 64), (129, 70), (1001, 33), (769, 200), (5, 3), (1, 17)]).eval()
    for artifact in by_dots(model, torch.randn(200, 1001)):
        for n in (0, 1, 3, 16, 200):
            x = torch.randn(n, 1001)
            got = called(artifact, x)
            assert all(torch.equal(a, b) for a, b in zip(got, called(artifact, x, 2)))
            for layer, y in zip(model.layers, got):
                a, w, b = x[:, :layer.in_features].double(), layer.weight.detach().t().double(), layer.bias.detach().double()
                both = a.bfloat16().double() @ rounded(layer.weight.detach(), "bf16") + b
                size = a.abs() @ w.abs() + 1
                assert ((y - both).abs() <= 1e-6 * size).all(), f"{n} rows, {layer}: not the product of what was rounded"
                assert ((y - (a @ w + b)).abs() <= 2**-8 * 1.01 * size).all(), f"{n} rows, {layer}: further from eager than two roundings"


def test_dots_of_other_layouts():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(33, 20)

        def forward(self, x):
            return self.layer(x.transpose(1, 2))

    torch.manual_seed(2)
    model, x = Model().eval(), torch.randn(30, 33, 7)
    for artifact in by_dots(model, x):
        got, = called(artifact, x)
        torch.testing.assert_close(got, model(x).detach(), rtol=0, atol=0.02)


def test_dots_of_what_is_not_finite():
    torch.manual_seed(3)
    model, inf = nn.Linear(41, 20).eval(), float("inf")
    x = torch.randn(40, 41)
    for artifact in by_dots(model, x):
        before, = called(artifact, x)
        y = x.clone()
        y[1, 3], y[2, 40], y[7, 0], y[9, 5], y[9, 6] = float("nan"), inf, -inf, inf, -inf
        got, want, bad = called(artifact, y)[0], model(y).detach(), [1, 2, 7, 9]
        torch.testing.assert_close(got[bad], want[bad], rtol=0, atol=0, equal_nan=True)
        good = [i for i in range(len(x)) if i not in bad]
        assert torch.equal(got[good], before[good])


def test_smaller():
    model = nn.Sequential(nn.Linear(512, 512), nn.GELU(), nn.Linear(512, 512)).eval()
    x, f32 = torch.randn(8, 512), 2 * 512 * 512 * 4
    full = compiled(model, x).stat().st_size
    for precision, share in zip(PRECISIONS, (0.49, 0.72, 0.84)):
        saved = full - compiled(model, x, "--precision", precision).stat().st_size
        assert saved > share * f32, f"{precision}: {saved} bytes less"


def test_chains_of_half_precision():
    """--fuse-precision f32: only what is stored is rounded; without it every operator rounds, as in PyTorch."""
    class Chain(nn.Module):
        def forward(self, x):
            return torch.sigmoid(x * 1.7) * x - x

    for dtype in (torch.bfloat16, torch.float16):
        model, x = Chain(), torch.randn(1000).to(dtype)
        fused, = called(compiled(model, x, "--fuse-precision", "f32"), x)
        exact, = called(compiled(model, x, "--fuse-precision", "exact"), x)
        wide = model(x.float())
        assert torch.equal(fused, wide.to(dtype)) or ((fused.float() - wide).abs() <= (wide.to(dtype).float() - wide).abs() * 1.01 + 1e-6).all()
        torch.testing.assert_close(exact, model(x), rtol=0, atol=0)
        assert not torch.equal(fused, exact)


def test_only_f32():
    model, x = nn.Linear(64, 64).double().eval(), torch.randn(8, 64, dtype=torch.float64)
    got, = called(compiled(model, x, "--precision", "int4-weight"), x)
    torch.testing.assert_close(got, model(x).detach())


def test_target():
    """What a target has besides its level is asked for only where it is used."""
    model = nn.Linear(64, 64).eval()
    native = "x86-64-v4+bf16" if common.BF16 and not common.AMX else common.TARGETS[-1]
    for rows, precision, target, processor in ((8, "f32", "x86-64-v4+vnni", "x86-64-v4"), (8, "int8-dynamic", "x86-64-v4+vnni", "x86-64-v4+vnni"),
                                               (200, "int8-dynamic", "x86-64-v4+bf16+vnni", "x86-64-v4+vnni"), (200, "int8-dynamic", "x86-64-v4+bf16", "x86-64-v4"),
                                               (200, "bf16", "x86-64-v4+bf16+vnni", "x86-64-v4+bf16"), (200, "bf16", "x86-64-v4+vnni", "x86-64-v4"),
                                               (200, "bf16", "x86-64-v3", "x86-64-v3"), (200, "bf16", "native", native), (1, "bf16", "x86-64-v4+bf16", "x86-64-v4"),
                                               (16, "bf16", "x86-64-v4+bf16", "x86-64-v4"), (17, "bf16", "x86-64-v4+bf16", "x86-64-v4+bf16")):
        artifact = compiled(model, torch.randn(rows, 64), "--precision", precision, "--target", target)
        said = common.cli("inspect", artifact, check=0).stdout
        assert f"processor: {processor}\n" in said and f"weights {precision}\n" in said, said
        assert ("rows bf16" in said) == processor.endswith("+bf16"), said


def test_few_rows_stay_exact():
    """Up to 16 rows are multiplied in f32: the same bits as without AVX512-BF16."""
    model = nn.Linear(301, 70).eval()
    for rows in (1, 3, 16) * common.BF16:
        x = torch.randn(rows, 301)
        got, plain = (called(compiled(model, x, "--precision", "bf16", "--target", t), x)[0] for t in ("x86-64-v4+bf16", "x86-64-v4"))
        assert torch.equal(got, plain)


def test_wrong_targets():
    path = common.export(nn.Linear(3, 2), (torch.randn(4, 3),), "target")
    for target in "x86-64-v4+", "x86-64-v4+vnni+", "x86-64-v4+vnni+vnni", "x86-64-v4+bf17", "x86-64-v3+bf16", "x86-64", "+bf16":
        c = common.cli("compile", path, "-o", common.SCRATCH / "t.cierge", "--target", target, check=2)
        assert "it is native, x86-64-v2, x86-64-v3 or x86-64-v4, which +vnni and +bf16 may follow" in c.stderr, c.stderr


if __name__ == "__main__":
    common.main(globals())
