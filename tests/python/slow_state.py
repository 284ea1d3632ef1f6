"""State that a program writes to: under two names, in overlapping parts, by strides; what each call gives and leaves behind is PyTorch's."""
import copy
import random
import re
import time

from common import SCRATCH, cli, close, compile, export, holds, main, np, torch
import cierge


class Model(torch.nn.Module):
    """buffers: name -> tensor, as they are (they may share memory); f(model, *x) is what it does."""
    def __init__(self, buffers, f):
        super().__init__()
        for name, t in buffers.items():
            self.register_buffer(name, t)
        self.f = f

    def forward(self, *x):
        return self.f(self, *x)


def listed(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def check(name, make, f, calls, functional=(False, True), native=True, dynamic=None):
    """make() gives the buffers, calls the inputs of one call after the other."""
    for dialect in functional:
        eager = Model(make(), f)
        torch.manual_seed(0)
        program = export(Model(make(), f), calls[0], name, dynamic, functional=dialect)
        artifact, report = compile(program, *["--require-native"] * native)
        assert not native or not report["nodes"]["torch"]
        context = cierge.load(artifact).context(threads=2)
        for k, x in enumerate(calls):
            mine, theirs = [copy.deepcopy(t) for t in x], [copy.deepcopy(t) for t in x]
            want = listed(eager(*theirs))
            got = [torch.from_dlpack(t).clone() for t in context.run(*mine)]
            for a, b in zip(got, want, strict=True):
                close(a, b)
            for a, b in zip(mine, theirs):
                close(a, b)


def zeros(*names, shape=(2, 6, 4)):
    def make():
        k = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
        return {n: k for n in names}
    return make


def steps(*shape):
    return [(torch.tensor([i]), torch.full(shape, float(i + 1))) for i in (3, 0, 3, 5)]


TRAINING = (False,)  # PyTorch's own run_decompositions() refuses a mutated buffer under two names


# ---------------------------------------------------------------- one memory, two names

def test_two_names():
    def write_one(s, i, x):
        s.k.index_copy_(1, i, x)
        return s.alias * 2, s.k + 1
    check("two_names", zeros("k", "alias"), write_one, steps(2, 1, 4), TRAINING)

    def write_both(s, i, x):
        s.k.index_copy_(1, i, x)
        before = s.alias.sum()
        s.alias.mul_(2)
        return before, s.third[0], s.k
    check("three_names", zeros("k", "alias", "third"), write_both, steps(2, 1, 4), TRAINING)


def test_two_shapes():
    def make():
        k = torch.arange(48.).reshape(2, 6, 4)
        return {"k": k, "flat": k.view(-1), "turned": k.transpose(0, 2), "column": k[..., 1]}

    def f(s, i, x):
        s.k.index_copy_(1, i, x)
        s.turned[0].add_(1)
        s.flat[:5].zero_()
        s.column.neg_()
        return s.k.clone(), s.flat + 0, s.turned * 1, s.column - 1
    check("two_shapes", make, f, steps(2, 1, 4), TRAINING)


def test_parts_without_a_whole():
    def make():
        k = torch.arange(20.)
        return {"a": k[:12].view(3, 4), "b": k[6:18].view(4, 3), "c": k[1:13:3]}

    def f(s, i, x):
        s.a[1].add_(x)
        s.b.index_fill_(0, i, 7)
        s.c.mul_(2)
        return s.a * 1, s.b * 1, s.c * 1
    check("parts", make, f, [(torch.tensor([i]), torch.full((4,), float(i))) for i in (2, 0, 3)], TRAINING)


def test_other_state_beside_them():
    def f(s, i, x):
        s.n.add_(1)
        s.k.index_copy_(1, i, x * s.n)
        return s.alias.sum() + s.n, s.n.clone()
    check("beside", lambda: {**zeros("k", "alias")(), "n": torch.zeros(())}, f, steps(2, 1, 4), TRAINING)


# ---------------------------------------------------------------- by strides

STRIDED = {
    "identity": ((3, 4), (4, 1), 0), "turned": ((4, 3), (1, 4), 0), "flat": ((12,), (1,), 0), "rows": ((2, 4), (4, 1), 4), "columns": ((3, 2), (4, 1), 1),
    "steps": ((2, 2), (8, 2), 1), "one": ((), (), 5), "diagonal": ((3,), (5,), 0), "overlapping": ((5, 3), (2, 1), 1), "repeated": ((2, 3), (0, 1), 2),
    "across": ((5, 2), (2, 1), 1), "empty": ((0, 3), (4, 1), 2), "ones": ((1, 3, 1), (7, 4, 9), 3),
}


def test_as_strided():
    x = torch.randn(3, 4)

    def read(s, x):
        return [v for g in STRIDED.values() for v in (x.as_strided(*g) * 2, x.t().contiguous().t().as_strided(*g), x[1:].as_strided(*g))]
    check("read", dict, read, [(x,)])
    places = [g for name, g in STRIDED.items() if name not in ("overlapping", "repeated")]  # PyTorch refuses to write to those

    def write(s, x, y):
        out = []
        for i, g in enumerate(places):
            x = x + i
            x.as_strided(*g).add_(y)
            out += [x, x.as_strided(*g).sum()]
        return out
    check("write", dict, write, [(x, torch.tensor(3.))])
    check("scatter", dict, lambda s, x, *y: [torch.as_strided_scatter(x, v, *g) for v, g in zip(y, places)], [(x, *(torch.randn(g[0]) for g in places))])


def test_symbolic_strides():
    n, m = torch.export.Dim("n", min=2, max=64), torch.export.Dim("m", min=4, max=64)

    def f(s, x):
        a, b = x.shape
        y = x + 1
        y.as_strided((a, b - 1), (b, 1), 1).mul_(2)
        return x.as_strided((a, b - 2), (b, 1), 2), x.as_strided((b, a), (1, b)), y, x.as_strided((a * b,), (1,))
    check("symbolic", dict, f, [(torch.randn(3, 5),), (torch.randn(2, 4),), (torch.randn(17, 9),)], dynamic=(({0: n, 1: m},),))


def test_beyond_the_elements():
    """What may reach beyond them stays with LibTorch, which looks when it runs."""
    n = torch.export.Dim("n", min=2, max=64)
    program = export(Model({}, lambda s, x: x.as_strided((4,), (1,), 1) * 2), (torch.randn(6),), "beyond", (({0: n},),))
    artifact, report = compile(program)
    assert report["nodes"]["torch"]
    for size, code in ((6, 0), (5, 0), (4, 3)):
        np.savez(SCRATCH / "x.npz", x_0=np.arange(size, dtype=np.float32))
        r = cli("run", artifact, "--inputs", SCRATCH / "x.npz", "--outputs", SCRATCH / "y.npz")
        assert r.returncode == code, r.stderr


# ---------------------------------------------------------------- attention over it

def heads(kind, x):
    b, n, keys, width = x.shape
    if kind == "expand":
        return x[:, :, None].expand(b, n, 3, keys, width).reshape(b, 3 * n, keys, width)
    if kind == "interleave":
        return x.repeat_interleave(3, 1)
    return x.transpose(1, 2).unsqueeze(3).expand(b, keys, n, 3, width).flatten(2, 3).transpose(1, 2)


def test_repeated_heads():
    """Grouped queries, whatever a model does to repeat heads: nothing is written out."""
    q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 16)
    mask = torch.rand(2, 1, 5, 7) > 0.3
    mask[..., 0] = True

    def written(q, k, v, mask):
        return ((q @ k.transpose(-1, -2)) * 0.3).masked_fill(mask, -1e9).softmax(-1) @ v
    sdpa = torch.nn.functional.scaled_dot_product_attention
    forms = {
        "gqa": lambda s, q, k, v, m: sdpa(q, k, v, m, enable_gqa=True),
        **{kind: lambda s, q, k, v, m, kind=kind: sdpa(q, heads(kind, k), heads(kind, v), m) for kind in ("expand", "interleave", "turned")},
        "written": lambda s, q, k, v, m: written(q, heads("expand", k), heads("expand", v), m),
        "one": lambda s, q, k, v, m: sdpa(q, k[:, :1].expand(2, 6, 7, 8), v[:, :1].expand(2, 6, 7, 16), m),
        "other": lambda s, q, k, v, m: sdpa(q, k.repeat(1, 3, 1, 1), v.repeat(1, 3, 1, 1), m),
    }
    for name, f in forms.items():
        check("heads_" + name, dict, f, [(q, k, v, mask)])
    artifact, _ = compile(export(Model({}, forms["expand"]), (q, k, v, mask), "kernels"))
    assert "native kernels: 1\n" in cierge.inspect(artifact), "heads are written out"
    assert "native kernels: 1\n" in cierge.inspect(compile(export(Model({}, forms["written"]), (q, k, v, mask), "kernels", functional=True))[0])


# ---------------------------------------------------------------- written where it lies

WRITES = """
{k}.index_copy_(1, i, x)
{k}.index_add_(1, i, x, alpha=2)
{k}.index_fill_(1, i, 3)
{k}[:, i] = x
{k}.index_put_((j, i), x[0], accumulate=True)
{k}.scatter_(1, i.view(1, 1, 1).expand(2, 1, 4), x)
{k}.scatter_add_(1, i.view(1, 1, 1).expand(2, 1, 4), x)
{k}.scatter_reduce_(1, i.view(1, 1, 1).expand(2, 1, 4), x, 'amax', include_self=False)
{k}.scatter_reduce_(1, torch.cat([i, i]).view(1, 2, 1).expand(2, 2, 4), {o}[:, :2] + 0, 'mean')
{k}.index_reduce_(1, torch.cat([i, j, i]), {o}[:, 1:4] + 0, 'mean', include_self=False)
{k}.index_reduce_(2, torch.cat([j, j]), x.transpose(1, 2)[:, :1].expand(2, 6, 2), 'mean')
{k}.put_(i * 4 + j, x[0, 0, :1], accumulate=True)
{k}.put_(torch.cat([i, j - 2, i]), {o}[0, 0, :3] + 0)
{k}.masked_scatter_(m > 0, {o} * 1)
{k}.masked_scatter_({k} > {o}, m.exp())
{k}.copy_(x.expand(2, 6, 4))
{k}.copy_({o} + 1)
{k}[:, 1:3] = x
{k}[:, 2].copy_(x[:, 0])
{k}[1].mul_(0.5)
{k}.mul_(0.5)
{k}.index_copy_(1, i, {k}[:, :1] + 1)
{k}.index_copy_(1, i, {o}[:, 2:3])
{k}.view(-1)[:3].neg_()
{k}[:, 0] = {k}[:, 1]
{k}[:, ::2].add_(x)
{k}[1, 2:5].mul_({o}[0, 1:4])
{k}[0, 1, 2] = {o}[1, 1, 1]
{k}.transpose(1, 2)[:, 3].add_(1)
{k}.transpose(0, 2)[3, 1:4] = x[:, 0, 0]
{k}.diagonal(0, 1, 2).copy_({k}[:, 5])
{k}.as_strided((2, 3), (7, 2), 5).add_({o}[:, 1, :3] * 2)
{k}.copy_({k}.roll(1, 1))
{k}.copy_({k}.softmax(-1))
{k}.copy_({o})
{k}.sigmoid_().add_({o})
{k}.masked_fill_({o} > 0, 2)
{k}.copy_({k} @ {o}[0, :4])
{k}[{k} > 0] = 3.
"""
READS = """
{k}.sum(1)
{k} + 0
{k}[:, :2] * x
{k}
{k}.transpose(1, 2)
torch.nn.functional.scaled_dot_product_attention(x, {k}, {o})
"""


def random_program(rng, names):
    """Lines that write to buffers and read them, before and after."""
    lines, outputs = [], []
    for n in range(rng.randint(3, 7)):
        k, o = rng.choices(names, k=2)
        if rng.random() < 0.6:
            lines.append(rng.choice(WRITES.split("\n")[1:-1]).format(k=k, o=o))
        else:
            text = rng.choice(READS.split("\n")[1:-1]).format(k=k, o=o)
            lines.append(f"y{n} = ({text})" + (".clone()" if rng.random() < 0.5 else ""))
            outputs.append(f"y{n}")
    return "def f(s, i, j, x, m):\n" + "".join(f"    {line}\n" for line in lines) + f"    return {', '.join(outputs + ['x.sum()'])},\n"


def random_programs(seeds, alias):
    for seed in seeds:
        names = ["s.k", "s.o", "s.same" if alias else "m"]
        text, scope = random_program(random.Random(seed), names), {"torch": torch}
        exec(text, scope)

        def make():
            b = {n: torch.arange(48.).sub(20).div(7 + m).reshape(2, 6, 4) for m, n in enumerate(("k", "o"))}
            return {**b, "same": b["k"]} if alias else b
        calls = [(torch.tensor([i]), torch.tensor([1]), torch.full((2, 1, 4), i / 4).cumsum(2), torch.linspace(-i, 2, 48).reshape(2, 6, 4)) for i in (3, 0, 5)]
        try:
            check(f"random_{seed}", make, scope["f"], calls, TRAINING if alias else (False, True), native=False)
        except Exception:
            print(f"seed {seed}, alias {alias}\n{text}")
            raise


def test_random_state():
    random_programs(range(3), False)
    random_programs(range(100, 105), True)


IN_PLACE = """
k.index_copy_(1, i, x); k.index_add_(1, i, x, alpha=2)
k[:, i] = x; k.index_put_((j, i), x[0], accumulate=True)
k[:, 1:3] = x; k[:, ::3].neg_(); k.view(-1)[:3].neg_()
k[1, 2:5].mul_(x[0]); k.transpose(1, 2)[:, 3].add_(1); k.diagonal(0, 1, 2).zero_()
k.put_(i * 64 + 3, x[0, 0, :1]); k.put_(torch.cat([i, j]), x[0, 0, :2], accumulate=True)
k.masked_scatter_(x[:, :, :1] > 0, o); k.put_(i, x[0, 0, :1])
k.index_reduce_(1, torch.cat([i, j, i]), o[:, :3], 'mean'); k.index_reduce_(1, i, x, 'amax', include_self=False)
k.index_reduce_(2, torch.cat([i, j, i]), o[:, :, :3], 'mean', include_self=False)
k.mul_(0.5).add_(x)
k.copy_(o + 1)
k.mul_(0.9); k[:, 2] = 3.; k.index_copy_(1, i, x)
k[:, :4] = x; k[:, 2:6] = k[:, 2:6] * 2; k[:, 0] = k[:, 1]
"""


def test_nothing_as_large_as_the_state_is_made():
    """The call's own memory holds no copy of what is written to."""
    def state():
        return torch.zeros(2, 50, 64)
    x = (torch.tensor([3]), torch.tensor([1]), torch.randn(2, 1, 64), state(), state())
    for line in IN_PLACE.split("\n")[1:-1]:
        for name, dialect in (("s.k", True), ("k", False)):
            scope, body = {"torch": torch}, re.sub(r"(?<!\w)k(?=[.[])", name, line)
            exec(f"def f(s, i, j, x, k, o):\n    {body}\n    return x + 1, {name}[:, 1:3] * 2\n", scope)
            artifact, _ = compile(export(Model({"k": state()}, scope["f"]), x, "in_place", functional=dialect), "--require-native")
            needed = int(re.search(r"at least (\d+) are needed", cierge.inspect(artifact))[1])
            assert needed < state().nbytes, (line, name, dialect, needed)


def test_inputs_that_share_memory():
    """Strided ones, ones that do not lie as memory should, ones between another's elements are written to; what PyTorch would see written through
    another input is refused, and nothing is written."""
    def f(s, i, a, b):
        a.index_copy_(0, i, b[:1] * 2)
        b.mul_(3)
        return a + b
    program = export(Model({}, f), (torch.tensor([1]), torch.ones(4, 6), torch.ones(4, 6)), "shared")
    context = cierge.load(compile(program, "--require-native")[0]).context(threads=2)
    x, y, z, w = torch.randn(6, 4).t(), torch.randn(5, 6), torch.randn(25)[1:].view(4, 6), torch.randn(4, 12)
    for a, b in ((x, y[:4]), (z, x), (w[:, ::2], w[:, 1::2]), (w[:, 6:], w[:, :6])):
        mine = a.clone(), b.clone()
        want = f(None, torch.tensor([2]), *mine)
        close(torch.from_dlpack(context.run(torch.tensor([2]), a, b)[0]), want)
        close(a, mine[0]), close(b, mine[1])
    pairs = export(Model({}, lambda s, a, b: a.add_(b.sum())), (torch.ones(4), torch.ones(3)), "empty", dynamic=(({0: torch.export.Dim.AUTO}, {0: torch.export.Dim.AUTO}),))
    empty, v = cierge.load(compile(pairs)[0]).context(), torch.ones(9)
    for a, b in ((v[4:4], v), (v, v[9:]), (v, v[5:5]), (v[9:], v)):  # nothing lies there
        empty.run(a, b)
    for a, b in ((y[:4], y[1:]), (x, x), (w[:, :6], w[:, 5:11]), (w[:, ::2], w[:, 2:8])):
        before = a.clone(), b.clone()
        try:
            context.run(torch.tensor([2]), a, b)
            raise AssertionError("shared memory went through")
        except cierge.Error as e:
            assert "share memory, and the program writes to" in str(e), e
        close(a, before[0]), close(b, before[1])


def state_errors(f, calls, bad):
    """A call that fails leaves whole rows behind, and a context that goes on."""
    eager = Model({"k": torch.zeros(2, 6, 4)}, f)
    artifact, _ = compile(export(Model({"k": torch.zeros(2, 6, 4)}, f), calls[0], "errors"), "--require-native")
    context = cierge.load(artifact).context(threads=2)
    for x in calls:
        close(torch.from_dlpack(context.run(*x)[0]), eager(*x))
        try:
            context.run(*bad)
            raise AssertionError("an index out of range went through")
        except cierge.Error as e:
            assert "out of range" in str(e), e


def test_indices_are_looked_at_before_anything_is_written():
    rows = [(torch.tensor([i, 0]), torch.randn(2, 2, 4)) for i in (3, 1)]

    def copied(s, i, x):
        s.k.index_copy_(1, i, x)
        return s.k * 2
    state_errors(copied, rows, (torch.tensor([2, 6]), torch.ones(2, 2, 4)))

    def put(s, i, x):
        s.k[:, i] = x
        return s.k.sum(0)
    state_errors(put, rows, (torch.tensor([2, -7]), torch.ones(2, 2, 4)))

    def scattered(s, i, x):
        s.k.scatter_add_(1, i, x)
        return s.k + 1
    def flat(s, i, x):
        s.k.put_(i, x, accumulate=True)
        return s.k - 1
    state_errors(flat, [(torch.tensor([i, -3, i]), torch.randn(3)) for i in (30, 0)], (torch.tensor([1, 2, 48]), torch.ones(3)))

    def masked(s, m, x):
        s.k.masked_scatter_(m, x)
        return s.k - 1
    state_errors(masked, [(torch.arange(6).view(6, 1) < i, torch.randn(36)) for i in (2, 4)], (torch.arange(6).view(6, 1) < 5, torch.ones(36)))

    def mean(s, i, x):
        s.k.index_reduce_(1, i, x, "mean")
        return s.k - 1
    state_errors(mean, [(torch.tensor([i, 0, i]), torch.randn(2, 3, 4)) for i in (3, 1)], (torch.tensor([1, 2, 6]), torch.ones(2, 3, 4)))
    many = [(torch.randint(0, 6, (2, 3, 4)), torch.randn(2, 3, 4)) for _ in range(2)]
    wrong = many[0][0].clone()
    wrong[1, 2, 3] = 6
    state_errors(scattered, many, (wrong, torch.ones(2, 3, 4)))


# ---------------------------------------------------------------- a cache that is longer than what is in it

def cached(dtype=torch.float32, mask_of=lambda s, i: (torch.arange(40) <= i)[None], scale=None, group=True):
    """One step of attention over a cache of 40 places; q, k, v are this step's."""
    def make():
        return {"k": torch.zeros(1, 2, 40, 8, dtype=dtype), "v": torch.zeros(1, 2, 40, 8, dtype=dtype)}

    def f(s, i, q, k, v):
        s.k.index_copy_(2, i, k)
        s.v.index_copy_(2, i, v)
        return torch.nn.functional.scaled_dot_product_attention(q, s.k, s.v, mask_of(s, i), scale=scale, enable_gqa=group)
    return make, f


def cache_steps(places, dtype=torch.float32, **bad):
    """bad: by step, what is put into q, k or v."""
    out = []
    for n, i in enumerate(places):
        x = {"q": torch.randn(1, 4, 1, 8), "k": torch.randn(1, 2, 1, 8), "v": torch.randn(1, 2, 1, 8)}
        for name, (step, number) in bad.items():
            if step == n:
                x[name][0, 1, 0, 3] = number
        out.append((torch.tensor([i]), *(t.to(dtype) for t in x.values())))
    return out


def test_valid_length():
    """What the mask hides is not looked at, and counts as in PyTorch where it is no ordinary number."""
    nan, inf, places = float("nan"), float("inf"), [0, 1, 7, 38, 39, 3, 5, 2]
    make, f = cached()
    artifact, _ = compile(export(Model(make(), f), cache_steps([0])[0], "valid"), "--require-native")
    for bad in ({}, {"v": (3, nan)}, {"k": (3, nan)}, {"v": (4, -inf)}, {"k": (4, inf)}, {"q": (5, inf)}, {"q": (5, nan)}, {"k": (3, 3e38), "q": (5, 3e38)}):
        eager, context = Model(make(), f), cierge.load(artifact).context(threads=2)
        for x in cache_steps(places, **bad):
            close(torch.from_dlpack(context.run(*x)[0]), eager(*x))
    forms = {
        "additive": cached(mask_of=lambda s, i: torch.where(torch.arange(40) <= i, 0.0, -torch.inf)[None]),
        "low": cached(mask_of=lambda s, i: torch.where(torch.arange(40) <= i, 0.0, -1e30)[None]),
        "nothing": cached(mask_of=lambda s, i: (torch.arange(40) < i)[None]),
        "window": cached(mask_of=lambda s, i: ((torch.arange(40) <= i) & (torch.arange(40) > i - 3))[None]),
        "each": cached(mask_of=lambda s, i: (torch.arange(40) <= i + torch.arange(4).view(4, 1, 1))[None]),
        "double": cached(torch.float64),
    }
    for name, (make, f) in forms.items():
        check("valid_" + name, make, f, cache_steps(places, torch.float64 if name == "double" else torch.float32, v=(3, nan)), (True,))


def test_valid_length_bounds_the_time():
    """A long cache with little in it costs what a short one does."""
    contexts = {}
    for capacity in (128, 8192):
        def make():
            return {n: torch.zeros(1, 4, capacity, 64) for n in ("k", "v")}

        def f(s, i, q, k, v):
            s.k.index_copy_(2, i, k)
            s.v.index_copy_(2, i, v)
            return torch.nn.functional.scaled_dot_product_attention(q, heads("expand", s.k), heads("expand", s.v), (torch.arange(capacity) <= i)[None])
        x = (torch.tensor([100]), torch.randn(1, 12, 1, 64), torch.randn(1, 4, 1, 64), torch.randn(1, 4, 1, 64))
        artifact, _ = compile(export(Model(make(), f), x, f"long{capacity}"), "--require-native")
        contexts[capacity] = cierge.load(artifact).context(threads=1)
        contexts[capacity].run(*x)

    def grows():
        best = {}
        for _ in range(40):
            for capacity, c in contexts.items():
                start = time.perf_counter()
                for _ in range(5):
                    c.call()
                best[capacity] = min(best.get(capacity, 1), time.perf_counter() - start)
        return best[8192] > 3 * best[128] and best  # 64 times as long, 20 times as slow where it is copied or read
    holds(grows)


if __name__ == "__main__":
    main(globals())
