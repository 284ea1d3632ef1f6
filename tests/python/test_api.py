"""The Python package: borrowed outputs, and where the time went."""
import gc
import json
import re
import threading

import common
from common import SCRATCH, main, np, torch

import cierge


class Many(torch.nn.Module):
    """Outputs of many kinds: an input's relative, a constant, state, an empty one, a number, none."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(3))
        self.register_buffer("fixed", torch.arange(4.0))

    def forward(self, x):
        self.count.add_(x[:3])
        y = x * 2
        return y, y[::2], self.fixed, self.count + 0, x[:0], x.sum(), x > 0, x.to(torch.float16), x.to(torch.bfloat16), x.to(torch.int8), x.to(torch.complex64), None


class Chain(torch.nn.Module):
    def forward(self, x):
        return (x @ x.T).relu().sum(0) + x[:, 0]


X = torch.tensor([1.0, -2, 3, -4])
PATH = common.export(Many(), (X,), "many")


def contexts(**options):
    """A context of a program that is native where it can be, and one that LibTorch runs."""
    for backends in ("c,torch", "torch"):
        artifact = PATH.with_suffix(f".{backends[0]}.cierge")
        cierge.compile(PATH, output=artifact, backends=backends, no_cost_drop=True)
        yield cierge.load(artifact).context(threads=1, **options)


def raises(kind, text, f, *args):
    try:
        f(*args)
    except kind as e:
        assert text in str(e), e
    else:
        raise AssertionError(f"no {kind.__name__}")


def same(got, want):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert (g is None) == (w is None)
        if w is not None:
            g = torch.from_dlpack(g)
            assert g.dtype == w.dtype and g.shape == w.shape
            assert torch.equal(g, w), (g, w)


def test_inputs_stay_set():
    """What was set once is lent until it is set again, however often the context runs."""
    for context in contexts():
        context.set_input(0, torch.tensor([1.0, 2, 3, 4]))
        for _ in range(3):
            gc.collect()
            torch.full((64,), 7.0)  # where the input would have been
            same(context.run()[:1], [torch.tensor([2.0, 4, 6, 8])])
        same(context.run(X)[:1], [X * 2])


def test_threads_share_a_context():
    """Each thread gets the answers to its own inputs, whatever their sizes."""
    path = common.export(Chain(), (torch.randn(4, 64),), "threads", ({0: torch.export.Dim("n", min=2, max=64)},))
    for backends in ("c,torch", "torch"):
        cierge.compile(path, output=path.with_suffix(".cierge"), backends=backends)
        context, wrong = cierge.load(path.with_suffix(".cierge")).context(threads=1), []

        def work(n):
            x = torch.full((n, 64), float(n))
            want = Chain()(x)
            for _ in range(50):
                y = torch.from_dlpack(context.run(x)[0])
                if y.shape != want.shape or not torch.allclose(y, want):
                    wrong.append((n, y.shape))

        threads = [threading.Thread(target=work, args=(n,)) for n in (2, 3, 17, 64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, wrong[:5]


def test_borrowed_as_they_are():
    for context in contexts():
        eager = Many()
        for k in range(3):
            want = [w if w is None else w.clone() for w in eager(X + k)]
            same(context.run(X + k, borrow=True), want)
            same([context.borrow(i) for i in range(len(want))], want)  # as often as one likes
            same([context.output(i) for i in range(len(want))], want)


def test_borrowed_without_a_copy():
    for context in contexts():
        a, b = (np.from_dlpack(t) for t in (context.run(X, borrow=True)[0], context.borrow(0)))
        assert a.ctypes.data == b.ctypes.data and a.tolist() == [2, -4, 6, -8]
        assert not a.flags.writeable  # it is the context's


def test_borrowed_or_taken():
    """What is LibTorch's is handed over, and lent no more; what is the context's is copied."""
    for handed_over, context in zip((False, True), contexts()):
        early = context.run(X, borrow=True)
        taken = torch.from_dlpack(context.output(5))
        if handed_over:
            raises(cierge.Error, "output 5 was taken", torch.from_dlpack, early[5])
            raises(cierge.Error, "output 5 was taken", context.borrow, 5)
        else:
            assert torch.from_dlpack(early[5]) == torch.from_dlpack(context.borrow(5)) == X.sum()
        context.run(X + 1)
        assert taken == X.sum()


def test_borrowed_outlives_the_context():
    for context in contexts():
        arrays = [torch.from_dlpack(t) for t in context.run(X, borrow=True) if t is not None]
        want = [w for w in Many()(X) if w is not None]
        del context
        gc.collect()
        for a, w in zip(arrays, want):
            assert torch.equal(a, w)
        assert len(cierge._lent) == len(arrays)
        del arrays, a
        gc.collect()
        assert not cierge._lent  # the context went with the last of them


def test_borrowed_before_the_next_call():
    for context in contexts():
        early = context.run(X, borrow=True)
        late = context.run(X + 1, borrow=True)
        raises(ValueError, "borrowed until the context's next call", np.from_dlpack, early[0])
        want = Many()(X + 1)
        assert np.from_dlpack(late[0]).tolist() == want[0].tolist()
        raises(ValueError, "handed over already", np.from_dlpack, late[0])
        raises(cierge.Error, "expected float32[4]", context.run, X[:2])
        assert np.from_dlpack(late[1]).tolist() == want[1].tolist()  # that was no call
        del early, late
        gc.collect()
        assert not cierge._lent


def test_memory():
    """What a call takes, symbols at their hints: values that live at once lie side by side, others in the same place."""
    def f(x):
        for _ in range(6):
            x = torch.cumsum(x @ x.transpose(0, 1) @ x, 0)
        return x

    class Model(torch.nn.Module):
        def forward(self, x):
            return f(x)
    path = common.export(Model(), (torch.randn(48, 32),), "memory", ({0: torch.export.Dim("n", min=2, max=512)},))
    artifact = path.with_suffix(".cierge")
    cierge.compile(path, output=artifact)
    weights, arena, bound = map(int, re.search(r"weights: (\d+) bytes\n  arena: (\d+) bytes, at least (\d+)", cierge.inspect(artifact)).groups())
    hint = int(re.search(r"with \w+ = (\d+)", cierge.inspect(artifact))[1])
    assert weights == 0 and hint == 48, (weights, hint)
    assert 4 * 48 * (48 + 32) <= bound <= arena <= 2 * 4 * 48 * (48 + 2 * 32), (bound, arena)


def test_profile():
    for context in contexts(profile="steps"):
        for _ in range(3):
            context.run(X)
        steps = [s for f in context.profile()["functions"] for s in f["steps"]]
        assert steps and {s["calls"] for s in steps} == {3} and sum(s["ns"] for s in steps) > 0
        assert {s["kind"] for s in steps} & {"kernel", "torch"}
        assert "arena of main" in context.profile_table()
        raises(cierge.Error, "options.profile 2", context.trace, SCRATCH / "none.json")
        assert not (SCRATCH / "none.json").exists()


def test_trace():
    for context in contexts(profile="trace"):
        for _ in range(2):
            context.run(X)
        context.trace(SCRATCH / "trace.json")
        events = [e for e in json.loads((SCRATCH / "trace.json").read_text())["traceEvents"] if e["ph"] == "X"]
        assert [e["name"] for e in events if e["cat"] == "call"] == ["call 1", "call 2"]
        assert len(events) > 2
        assert context.profile()["functions"]


def test_profile_that_nobody_asked_for():
    for context in contexts():
        context.run(X)
        raises(cierge.Error, "without options.profile", context.profile)
        raises(ValueError, "'steps' or 'trace'", context.program.context, 1, "everything")


if __name__ == "__main__":
    main(globals())
