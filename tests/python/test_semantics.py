"""Programs whose meaning is easily lost: indices that are out of range, attention, random draws, sizes that only memory tells, wrong records."""
from common import SCRATCH, cli, close, compile, export, main, np, torch
import cierge

F = torch.nn.functional


class Call(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *x):
        return self.f(*x)


NATIVE = {"CIERGE_LIBTORCH": "none"}


def run(artifact, inputs, *options, env=None):
    """(exit code and texts, outputs)"""
    given, got = SCRATCH / "given.npz", SCRATCH / "got.npz"
    np.savez(given, **inputs)
    r = cli("run", artifact, "--inputs", given, "--outputs", got, *options, env=env)
    return r, list(dict(np.load(got)).values()) if not r.returncode else None


def indexed(name, f, wraps):
    """A negative index: PyTorch's answer where it wraps, an error in both where it does not."""
    x, i = torch.randn(3, 4), torch.tensor([1, 0, 2])
    artifact, _ = compile(export(Call(f), (x, i), name), "--require-native")
    for index in (i, torch.tensor([0, -1, 2])):
        try:
            want = f(x, index)
        except (IndexError, RuntimeError):
            want = None
        assert (want is None) == (not wraps and bool((index < 0).any())), f"{name}: PyTorch changed"
        r, got = run(artifact, {"x_0": x, "x_1": index})
        assert (r.returncode != 0) == (want is None), f"{name}: {r.stdout}{r.stderr}"
        if want is not None:
            close(got[0], want)


def test_negative_indices():
    row = torch.zeros(3, 4)
    indexed("take", lambda x, i: x.take(i), True)
    indexed("index", lambda x, i: x[i], True)
    indexed("index_put", lambda x, i: x.index_put((i,), row), True)
    indexed("index_fill", lambda x, i: x.index_fill(0, i, 2.0), True)
    indexed("put", lambda x, i: x.put(i, row[0, :3]), True)
    indexed("gather", lambda x, i: x.gather(0, i[None]), False)
    indexed("index_select", lambda x, i: x.index_select(0, i), False)
    indexed("embedding", lambda x, i: F.embedding(i, x), False)
    indexed("scatter", lambda x, i: x.scatter(0, i[None], row), False)
    indexed("index_add", lambda x, i: x.index_add(0, i, row), False)
    indexed("index_copy", lambda x, i: x.index_copy(0, i, row), False)


def test_least_integers():
    """The least number by -1: quotients wrap, remainders are 0. Quotients that are truncated end PyTorch's process from 32 bits on."""
    def divided(*pairs):
        out = []
        for x, y in zip(pairs[::2], pairs[1::2]):
            out += [x // y, x.floor_divide(-1), torch.div(x, y, rounding_mode="floor"), x % y, torch.fmod(x, y), torch.fmod(x, -1), x.remainder(-1)]
            if x.dtype in (torch.int8, torch.int16):
                out += [torch.div(x, y, rounding_mode="trunc")]
        return out

    kinds = [torch.int8, torch.int16, torch.int32, torch.int64]
    pairs = [torch.tensor(v, dtype=t) for t in kinds for v in ([torch.iinfo(t).min, 7, -7] * 9, [-1, 2, 2] * 9)]
    artifact, _ = compile(export(Call(divided), tuple(pairs), "least"), "--require-native")
    r, got = run(artifact, {f"x_{i}": x for i, x in enumerate(pairs)})
    assert not r.returncode, r.stderr
    for g, w in zip(got, divided(*pairs), strict=True):
        close(g, w)


def test_reductions_of_nothing():
    """Static sizes that are 0, along the reduced dimension and beside it, of products as well as of what is stored."""
    shapes = (0,), (5, 0), (0, 5), (0, 0), (3, 0, 4), (0, 70, 64)

    def reduced(*inputs):
        return [f(x, d) for x in inputs for d in range(x.dim()) for f in (lambda x, d: (x * x).sum(d), lambda x, d: x.prod(d), lambda x, d: (x + 1).mean(d), lambda x, d: x.norm(dim=d))]
    for dtype in (torch.float32, torch.float64, torch.float16):
        inputs = tuple(torch.ones(s, dtype=dtype) for s in shapes)
        artifact, _ = compile(export(Call(reduced), inputs, "nothing"), "--require-native")
        r, got = run(artifact, {f"x_{i}": x for i, x in enumerate(inputs)}, env=NATIVE)
        assert not r.returncode, r.stderr
        for g, w in zip(got, reduced(*inputs)):
            close(g, w)


def test_indices_into_dimensions_of_size_1():
    x, i = torch.randn(1, 4), torch.zeros(3, dtype=torch.int64)
    cases = {
        "index_select": lambda x, i: x.index_select(0, i),
        "gather": lambda x, i: x.gather(0, i[:, None].expand(3, 4)),
        "embedding": lambda x, i: F.embedding(i, x),
        "index": lambda x, i: x[i],
        "take": lambda x, i: x[:, :1].take(i),
        "pointwise": lambda x, i: (x + 1).index_select(0, i) * 2,
        "expanded": lambda x, i: x.expand(3, 4).index_select(0, i),
        "constant": lambda x, i: torch.ones(3, 4).index_select(0, i) + x,
        "reduced": lambda x, i: x.index_select(0, i).sum(0),
        "product": lambda x, i: x.index_select(0, i) @ x.t(),
        "number": lambda x, i: x.sum().gather(0, i),
        "one_hot": lambda x, i: F.one_hot(i, 1) + x[:, :1].long() * 0,
        "index_add": lambda x, i: x.index_add(0, i, x.expand(3, 4)),
        "index_put": lambda x, i: x.index_put((i,), torch.zeros(())),
    }
    for name, f in cases.items():
        artifact, _ = compile(export(Call(f), (x, i), "one_" + name), "--require-native")
        raised = 0
        for at in ([0, 0, 0], [0, 0, 7], [1, 0, 0], [0, -1, 0], [-2, 0, 0]):
            try:
                want = f(x, torch.tensor(at))
            except (IndexError, RuntimeError):
                want = None
            r, got = run(artifact, {"x_0": x, "x_1": torch.tensor(at)}, env=NATIVE)
            raised += want is None
            if want is None:
                assert r.returncode == 3 and "(node " in r.stderr and "is out of range for a dimension of size" in r.stderr, f"{name} {at}: {r.returncode} {r.stderr}"
            else:
                assert not r.returncode, f"{name} {at}: {r.stderr}"
                close(got[0], want)
        assert raised >= 2, name


def test_attention_beyond_the_kernel():
    attend = F.scaled_dot_product_attention
    q, k, v = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    mask, bias = torch.rand(4, 6) > 0.3, torch.randn(4, 6)
    mask[1], bias[1] = False, float("-inf")  # a row that sees nothing
    wide = [torch.randn(1, 4, 4, 1100), torch.randn(1, 2, 6, 1100), torch.randn(1, 2, 6, 1100)]
    odd = q * torch.tensor([1, 1, float("inf"), 1, 1, 1, 1, 1])
    both, masked = (lambda q, k, v, m: attend(q, k, v, m, is_causal=True)), (lambda q, k, v, m: attend(q, k, v, m))
    causal = lambda q, k, v: attend(q, k, v, is_causal=True)  # noqa: E731
    cases = {
        "mask_and_causal": (both, (q, k, v, mask)), "bias_and_causal": (both, (q, k, v, bias)), "double": (both, (q.double(), k.double(), v.double(), bias)),
        "ranks": (masked, (q, k[0], v[0], mask)), "ranks_of_query": (masked, (q[0], k, v[0, 0], bias)), "half": (masked, (q.half(), k[0].half(), v[0].half(), mask)),
        "batches": (masked, (q, k.repeat(3, 1, 1, 1), v, mask)), "causal": (causal, (torch.randn(1, 2, 9, 8), k[0], v[0])),
        "wide": (lambda q, k, v, m: attend(q, k, v, m, enable_gqa=True), (*wide, mask)), "wide_causal": (causal, (wide[0][:, :2], *wide[1:])),
        "scale": (lambda q, k, v, m: attend(q, k, v, m, scale=-0.7), (q, k[0], v[0], mask)), "width_0": (masked, (q[..., :0], k[..., :0], v, mask)),
        "inf": (masked, (odd, k, v, mask)), "inf_ranks": (masked, (odd, k[0], v[0], mask)),
    }
    for name, (f, x) in cases.items():
        artifact, _ = compile(export(Call(f), x, "attention_" + name), "--require-native")
        r, got = run(artifact, {f"x_{i}": t for i, t in enumerate(x)}, env=NATIVE)
        assert not r.returncode, f"{name}: {r.stderr}"
        close(got[0], f(*x))
    width = torch.export.Dim("width", min=2, max=2000)
    path = export(Call(lambda q, k, v: attend(q, k, v)), (q, k, v), "attention_symbolic", dynamic=(({3: width},) * 3,))
    artifact, _ = compile(path, "--require-native")
    x = [torch.randn(1, 2, n, 12) for n in (4, 6, 6)]
    r, got = run(artifact, {f"x_{i}": t for i, t in enumerate(x)}, env=NATIVE)
    assert not r.returncode, r.stderr
    close(got[0], attend(*x))


def test_equal_draws_are_not_merged():
    def twice(q):
        return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5), F.scaled_dot_product_attention(q, q, q, dropout_p=0.5), \
            F.dropout(q, 0.5, True), F.dropout(q, 0.5, True)
    q = torch.ones(1, 2, 8, 4)
    artifact, _ = compile(export(Call(twice), (q,), "draws"))
    r, got = run(artifact, {"x_0": q}, "--seed", "7")
    assert not r.returncode, r.stderr
    torch.manual_seed(7)
    for a, b in zip(got, twice(q)):
        close(a, b)
    assert (got[0] != got[1]).any() and (got[2] != got[3]).any()


def test_tensor_split_at_indices():
    x, i = torch.randn(4, 8), torch.tensor([2, 5])
    for functional in (False, True):
        artifact, _ = compile(export(Call(lambda x, i: torch.tensor_split(x, i, dim=1)), (x, i), "split", functional=functional))
        for at in (i, torch.tensor([0, 7])):
            r, got = run(artifact, {"x_0": x, "x_1": at})
            assert not r.returncode, r.stderr
            for a, b in zip(got, torch.tensor_split(x, at, dim=1)):
                close(a, b)


def test_conversions_there_and_back():
    """A value that another dtype cannot hold comes back rounded."""
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool]
    for x in (torch.tensor([0.1, -2.7, 3e4 + 0.3, 16777217.0, 0.0, 1e-9], dtype=torch.float64), torch.tensor([2**53 + 1, 16777217, -3, 300, 0, 1])):
        def f(x):
            return tuple(x.to(a).to(b).to(a) for a in kinds for b in kinds)

        artifact, _ = compile(export(Call(f), (x,), "back"), "--require-native")
        context = cierge.load(artifact).context()
        for k, (g, w) in enumerate(zip(context.run(x), f(x), strict=True)):
            torch.testing.assert_close(torch.from_dlpack(g), w, rtol=0, atol=0, msg=lambda m: f"{kinds[k // 9]} and {kinds[k % 9]}: {m}")


def test_statistics_of_large_numbers():
    F = torch.nn.functional
    path = export(Call(lambda x: (F.instance_norm(x), F.batch_norm(x, None, None, training=True))), (torch.randn(4, 8, 40),), "large")
    artifact, _ = compile(path, "--require-native")
    context = cierge.load(artifact).context()
    for scale in (1.0, 1e18, 1e25, 3e38):
        x = (torch.rand(4, 8, 40) - 0.3) * scale
        for g, w in zip(context.run(x), (F.instance_norm(x), F.batch_norm(x, None, None, training=True)), strict=True):
            close(torch.from_dlpack(g), w)


class Updated(torch.nn.Module):
    """Gives what its buffers hold, and copies an input into each: a functional program has that input itself as the update."""
    def __init__(self, kinds, shape):
        super().__init__()
        self.n = len(kinds)
        for i, kind in enumerate(kinds):
            self.register_buffer(f"k{i}", torch.zeros(shape, dtype=kind))

    def forward(self, *x):
        held = [getattr(self, f"k{i}") for i in range(self.n)]
        old = [k.clone() for k in held]
        for k, y in zip(held, x):
            k.copy_(y)
        return old


class Written(torch.nn.Module):
    def forward(self, x, *to):
        for t in to:
            t.copy_(x)
        return x.sum()


def test_padding_of_open_sizes():
    """Conditions on sizes that the export repeats are asserted once."""
    auto, x = torch.export.Dim.AUTO, torch.randn(2, 3, 7, 9)
    for mode in ("reflect", "circular", "replicate"):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode), torch.nn.ReLU()).eval()
        artifact, _ = compile(export(net, (x,), "padded", ({2: auto, 3: auto},)), "--require-native")
        for n, m in ((7, 9), (2, 3), (20, 5)):
            y = torch.randn(2, 3, n, m)
            r, got = run(artifact, {"input": y}, env=NATIVE)
            assert not r.returncode, f"{mode} {n} {m}: {r.stderr}"
            close(got[0], net(y))


BOUNDS = {
    "last k": lambda x, k: x[:, -k:] * 2, "but the last k": lambda x, k: x[:, :-k] * 2, "both ends": lambda x, k: x[:, -k:-1] * 2, "from the end": lambda x, k: x[:, x.shape[1] - k:] * 2,
    "half": lambda x, k: x[:, -(k // 2):] * 2, "less 2": lambda x, k: x[:, :k - 2] * 2, "every other": lambda x, k: x[:, -k::2] * 2, "one": lambda x, k: x[:, -k] * 2,
    "one before": lambda x, k: x.select(1, k - 4) * 2, "narrow": lambda x, k: x.narrow(1, -k, k) * 2, "written": lambda x, k: (x + 0).slice_scatter(x[:, -k:] * 3, 1, -k),
}


def test_bounds_below_zero_in_some_calls():
    """Places of a slice counted from the end where a size says so: eager's values, refused where PyTorch's own program refuses."""
    auto, x, y = torch.export.Dim.AUTO, torch.randn(3, 10), torch.randn(4)
    for name, f in BOUNDS.items():
        program = torch.export.export(Call(lambda x, y: f(x, y.shape[0])), (x, y), dynamic_shapes=(({1: auto}, {0: auto}),))  # noqa: B023
        theirs, ours = program.module(), [cierge.compile(program, **options) for options in ({}, {"backends": "torch"})]
        answers = 0
        for n in range(6):
            for k in range(6):
                given = torch.randn(3, n), torch.randn(k)
                try:
                    want = theirs(*given)
                except Exception:
                    continue
                answers += 1
                for p in ours:
                    close(p(*given), want)
        assert answers > 4, (name, answers)


def updated(model, name, calls, dynamic=None):
    path = export(model, tuple(calls[0]), name, dynamic, functional=True)
    program = torch.export.load(path).module()
    context = cierge.load(compile(path, "--require-native")[0]).context()
    for x in calls:
        mine, theirs = [t.clone() for t in x], [t.clone() for t in x]
        want = program(*theirs)
        for g, w in zip(context.run(*mine), want if isinstance(want, (tuple, list)) else [want], strict=True):
            close(torch.from_dlpack(g), w)
        for g, w in zip(mine, theirs):
            close(g, w)


def test_updates_are_converted_and_broadcast():
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    v = torch.tensor([float("inf"), -float("inf"), float("nan"), 3e9, -3e9, 1e20, 300.0, -1.5, -0.0, 0.5, 65504.0, 129.0])
    floats = [v[torch.randperm(12)].reshape(3, 4) for _ in range(3)]
    updated(Updated(kinds, (3, 4)), "kinds", [[x + 0 for _ in kinds] for x in floats])
    whole = [torch.tensor([0, -1, 128, 256, 2**31, -2**63, 2**53 + 1, 3]) + i for i in range(3)]
    updated(Updated(kinds, (5, 8)), "whole", [[x + 0 for _ in kinds] for x in whole])
    updated(Written(), "written", [[x[:1], *[torch.zeros(3, 4, dtype=k) for k in kinds]] for x in floats])
    symbolic = [[torch.randn(n, 4), torch.zeros(n, 4, dtype=torch.int8), torch.zeros(2, n, 4, dtype=torch.float64)] for n in (3, 5, 2)]
    auto = torch.export.Dim.AUTO
    updated(Written(), "symbolic", symbolic, ({0: auto}, ({0: auto}, {1: auto})))
    for shape in ((4,), (3, 1), (), (1, 1)):
        updated(Updated([torch.float32, torch.int32], (3, 4)), "shape", [[torch.randn(shape) * 9 for _ in range(2)] for _ in range(3)])


def test_running_statistics_keep_their_dtype():
    x, mean, var = torch.randn(2, 3, 4).bfloat16(), torch.zeros(3).bfloat16(), torch.ones(3).bfloat16()

    def norm(x, mean, var):
        mean, var = mean.clone(), var.clone()
        y = F.batch_norm(x, mean, var, training=True)
        return y.float(), mean.float(), var.float()
    artifact, _ = compile(export(Call(norm), (x, mean, var), "statistics", functional=True))
    import cierge
    for a, b in zip(cierge.load(artifact).context().run(x, mean, var), norm(x, mean, var)):
        close(torch.from_dlpack(a), b)


def test_numbers_beside_half_precision_are_rounded_where_pytorch_makes_tensors_of_them():
    def numbers(x, y):
        a = torch.where(y == 0, 0.5, y)
        return [x == 0.3, x > 0.3, x <= 0.3, x % 0.3, torch.fmod(x, 0.3), 0.7 % a, torch.pow(0.3, y), y.abs() ** 0.3, F.hardshrink(x, 0.3),
                torch.div(x, 0.3, rounding_mode="trunc"), torch.div(x, 0.3, rounding_mode="floor"), x * 0.3, x / 0.3, x + 0.3, x - 0.3, 0.3 - x]
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.linspace(-2, 2, 601).to(dtype)
        x[:3] = torch.tensor([0.3, 0.30078125, 1.7998046875], dtype=dtype)
        y = torch.linspace(-3, 3, 601).to(dtype)
        artifact, _ = compile(export(Call(numbers), (x, y), "numbers"))
        import cierge
        for k, (a, b) in enumerate(zip(cierge.load(artifact).context().run(x, y), numbers(x, y))):
            assert torch.equal(torch.from_dlpack(a), b), (dtype, k)


def test_what_is_only_moved_keeps_its_bits():
    def moved(x, y):
        return [torch.cat([x, y], 1), torch.cat([x, y, x], 0), x.roll(3, 1), x.roll(-2, 0), x.flatten().roll(5), F.pad(x, [1, 2]), F.pad(x, [-1, 3, 2, -1]), x.t().repeat(2, 1),
                torch.stack([x, y], 1), x.tril(-1), x.flip(1), torch.slice_scatter(x, y[:, :9], 1, 2, 20, 2), F.pad(x[None], [3, 4], "reflect"), x[:, 5:6].expand(-1, 40), x[1:1]]
    bits = torch.randint(-2**15, 2**15, (2, 7, 37), dtype=torch.int16)  # NaNs of all kinds among them
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x, y = (bits if dtype != torch.float32 else bits.int() << 16).view(dtype)
        artifact, _ = compile(export(Call(moved), (x, y), "moved"))
        import cierge
        for k, (a, b) in enumerate(zip(cierge.load(artifact).context().run(x, y), moved(x, y))):
            of = torch.int32 if dtype == torch.float32 else torch.int16
            assert torch.equal(torch.from_dlpack(a).view(of), b.contiguous().view(of)), (dtype, k)



def test_sizes_by_a_factor_that_doubles_round():
    """Sizes are trunc(c * s) as a processor computes it, in guards too; 100 * 1.1 is no integer, and 10 * 0.7 is 7. Native and in LibTorch."""
    def scaled(x):
        y = F.interpolate(x, scale_factor=c, mode="linear")
        return y, F.interpolate(y, scale_factor=1.7)
    for c in (0.7, 1 / 3, 1.1):
        path = export(Call(scaled), (torch.randn(1, 3, 40),), "scaled", (({2: torch.export.Dim.AUTO},),))
        for options in ((), ("--backends", "torch")):
            artifact, _ = compile(path, *options)
            context = cierge.load(artifact).context()
            for n in (10, 20, 30, 37, 49, 100, 103, 110):
                x = torch.randn(1, 3, n)
                for a, b in zip(context.run(x), scaled(x)):
                    assert a.shape == b.shape, (c, n, options)
                    close(torch.from_dlpack(a), b)


def test_statistics_of_another_dtype_than_recorded():
    """Half precision with f32 parameters: normalisations give f32 statistics, where PyTorch records half precision; with what is computed of them."""
    def normalised(x, w, m):
        a, b, c = torch.native_group_norm(x, w, w, 2, 8, 36, 2, 1e-5)
        d, e, f = torch.native_layer_norm(x, [6], w[:6], None, 1e-5)
        g, h, i = torch.native_batch_norm(x, None, None, m, w, False, 0.1, 1e-5)
        return a, b, c, d, e, f, g, b * c + 1, torch.cat([e, f]).sum(0), c.exp()[None], h, i
    for dtype in (torch.float16, torch.bfloat16):
        inputs = torch.randn(2, 8, 6, 6).to(dtype), torch.rand(8) + 1, torch.randn(8)
        for functional in (False, True):
            got = cierge.load(compile(export(Call(normalised), inputs, "statistics", functional=functional))[0]).context().run(*inputs)
            for k, (a, b) in enumerate(zip(map(torch.from_dlpack, got), normalised(*inputs))):
                assert a.dtype == b.dtype, (dtype, functional, k)
                torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


def test_results_that_others_are_read_through():
    """Slices of what was written as a whole, and a result in another order that a product reads as well, at open sizes."""
    def written(x):
        x = x + 1
        x[:, 1:3].relu_()
        return x.view(-1)[::3]

    def turned(x):
        rows = torch.cat([x, x * 2]).transpose(0, 1)
        return rows, torch.mm(rows.transpose(0, 1).reshape(-1, 4), torch.arange(8.0).view(4, 2))
    for f in (written, turned):
        for functional in (False, True):
            x = torch.randn(3, 4) if f is written else torch.randn(3, 5, 4)
            shape = ({0: torch.export.Dim.DYNAMIC},) if f is written else ({1: torch.export.Dim.DYNAMIC},)
            artifact, _ = compile(export(Call(f), (x,), "through", dynamic=(shape,), functional=functional), "--require-native")
            context = cierge.load(artifact).context()
            for n in (3, 5, 1, 0):
                y = torch.randn(n, 4) if f is written else torch.randn(3, n, 4)
                want = f(y)
                for got, w in zip(context.run(y), want if isinstance(want, tuple) else [want]):
                    close(torch.from_dlpack(got), w)


def test_open_ranges():
    path = export(Call(lambda x: x * 2), (torch.randn(5),), "open", (({0: torch.export.Dim("n", max=64)},),))
    name = cli("inspect", compile(path)[0]).stdout.split("f32[")[1].split("]")[0]
    for text, sizes in (("2..", {1: False, 2: True, 64: True, 65: False}), ("..8", {0: True, 8: True, 9: False}), ("..", {0: True, 64: True}), ("2..,hint=3", {1: False, 3: True})):
        context = cierge.load(compile(path, "--dim", f"{name}={text}")[0]).context()
        for n, fits in sizes.items():
            try:
                context.run(torch.zeros(n))
                assert fits, (text, n)
            except cierge.Error as e:
                assert not fits and "dimension 0" in str(e), (text, n, e)


main(globals())
