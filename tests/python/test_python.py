"""The Python package as people use it: models go in as they are, and programs are called as the models are."""
import asyncio
import collections
import copy
import dataclasses
import inspect
import os
import pickle
import subprocess
import sys
import threading
import typing

import common
import numpy as np
from common import SCRATCH, close, main, torch
import cierge
from torch._higher_order_ops.associative_scan import associative_scan

nn = torch.nn


def same(got, want):
    a, tree = torch.utils._pytree.tree_flatten(got)
    b, its = torch.utils._pytree.tree_flatten(want)
    assert tree == its, (tree, its)
    for x, y in zip(a, b):
        assert type(x) is type(y), (x, y)
        if isinstance(x, torch.Tensor):
            assert x.dtype == y.dtype and x.shape == y.shape
            close(x, y.detach())
        else:
            assert x == y, (x, y)


def raises(kind, text, f, *args, **kwargs):
    try:
        f(*args, **kwargs)
    except kind as e:
        assert text in str(e), e
    else:
        raise AssertionError(f"no {kind.__name__}")


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x, pair, *, mask=None, scale=2.0, mode="sum"):
        y = self.layer(x) * scale
        if mask is not None:
            y = y.masked_fill(mask, 0)
        return {"y": y, "all": [pair["a"] + 1, (pair["b"][0], x.shape[0])], "none": None, "again": y}


X, PAIR, MASK = torch.randn(5, 4), {"a": torch.ones(2), "b": (torch.zeros(3, dtype=torch.int64),)}, torch.rand(5, 3) > 0.5


def test_modules_are_called_as_they_are():
    net = Nested().eval()
    for kwargs in ({}, {"mask": MASK}, {"scale": 0.5, "mask": MASK, "mode": "sum"}):
        program = cierge.compile(net, (X, PAIR), kwargs)
        same(program(X, PAIR, **kwargs), net(X, PAIR, **kwargs))
        same(program(X.t().contiguous().t(), PAIR, **dict(reversed(kwargs.items()))), net(X, PAIR, **kwargs))
    raises(TypeError, "'mask' is missing", program, X, PAIR, scale=0.5, mode="sum")
    raises(TypeError, "'mist' was not given", program, X, PAIR, mist=1, **kwargs)
    raises(TypeError, "not built as", program, X, [PAIR], **kwargs)
    raises(ValueError, "the constant \"sum\"", program, X, PAIR, **{**kwargs, "mode": "mean"})
    raises(cierge.Error, "scale", program, X, PAIR, **{**kwargs, "scale": 0.25})


def test_open_sizes_and_exported_programs():
    net, n = Nested().eval(), torch.export.Dim("n", min=1, max=64)
    shapes = {"x": {0: n}, "pair": {"a": None, "b": (None,)}}
    for program in (cierge.compile(net, (X, PAIR), dynamic_shapes=shapes), cierge.compile(torch.export.export(net, (X, PAIR), dynamic_shapes=shapes, strict=False))):
        for rows in (5, 1, 9):
            x = torch.randn(rows, 4)
            same(program(x, PAIR), net(x, PAIR))
        raises(cierge.Error, "x", program, torch.randn(5, 3), PAIR)
    raises(TypeError, "for modules", cierge.compile, torch.export.export(net, (X, PAIR)), (X, PAIR))


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Found:
    first: torch.Tensor
    second: torch.Tensor


torch.export.register_dataclass(Found)


def test_results_of_classes():
    def f(x):
        return Found(x + 1, x * 2), Point(x.sum(), [x])
    got = cierge.compile(common.module(f), (X,))(X)
    assert isinstance(got[0], Found) and isinstance(got[1], Point)
    close(got[0].second, X * 2), close(got[1].x, X.sum()), close(got[1].y[0], X)


@dataclasses.dataclass
class Record:
    a: torch.Tensor
    b: torch.Tensor
    none: object = None


Named = collections.namedtuple("Named", "p q")
torch.export.register_dataclass(Record, serialized_type_name="tests.Record")


def test_sizes_shared_with_what_is_nested():
    """The guards of an export name its arguments by their paths: checked in each call, from Python and in a file."""
    auto, x = torch.export.Dim.AUTO, lambda n: torch.randn(n, 2)
    kinds = {
        "list": (lambda d, t: d + t[0], lambda a, b: (a, [b]), [{0: auto}]), "tuple": (lambda d, t: d + t[0][0], lambda a, b: (a, ((b,),)), (({0: auto},),)),
        "dict": (lambda d, t: d + t["k"][0], lambda a, b: (a, {"k": [b]}), {"k": [{0: auto}]}), "dataclass": (lambda d, t: d + t.a + t.b, lambda a, b: (a, Record(b, b)), [{0: auto}] * 2),
        "of dataclasses": (lambda d, t: d + t[0].b, lambda a, b: (a, [Record(a, b)]), [[{0: auto}] * 2]), "named tuple": (lambda d, t: d + t.q, lambda a, b: (a, Named(a, b)), Named({0: auto}, {0: auto})),
    }
    for name, (f, arguments, sizes) in kinds.items():
        exported = torch.export.export(common.module(f), arguments(x(3), x(3)), dynamic_shapes=(({0: auto}, sizes),))
        assert exported._guards_code, name
        for e in (exported, exported.run_decompositions()):
            program = cierge.compile(e)
            same(program(*arguments(a := x(5), b := x(5))), f(*arguments(a, b)))
            raises(cierge.Error, "", program, *arguments(x(5), x(4)))
        if name != "named tuple":  # torch.export.save knows none that is not registered
            torch.export.save(exported, SCRATCH / "nested.pt2")
            program = cierge.compile(SCRATCH / "nested.pt2")
            raises(cierge.Error, "", program, *torch.utils._pytree.tree_leaves(arguments(x(5), x(4))))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen.add_(1)
        return x * self.seen


def test_state_lasts_and_inputs_are_written():
    program = cierge.compile(Counting(), (X,))
    for k in (1, 2, 3):
        close(program(X), X * k)
    program.reset()
    close(program(X), X)

    def grow(x):
        x.mul_(2)
        return x.sum()
    x = X.clone()
    close(cierge.compile(common.module(grow), (X.clone(),))(x), (X * 2).sum())
    close(x, X * 2)


class Pair(typing.NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


class Scripted(nn.Module):
    def forward(self, x: torch.Tensor, n: int = 3, by: typing.Optional[torch.Tensor] = None, at: typing.Tuple[int, int] = (1, 2),
                more: typing.Optional[typing.List[torch.Tensor]] = None, mode: str = "up"):
        y = x + at[0] - at[1] if mode == "up" else x
        if more is not None:
            y = y + more[1]
        return y + n, (x * 2, x * 3), [x, x + 1], {"b": x, "a": y}, Pair(x, y), 3, by


def test_scripts_take_and_give_what_their_schema_says():
    def built_as(got, want):  # each call of TorchScript has named tuples of its own
        same(got[:4] + got[5:], want[:4] + want[5:]), same(got[4]._asdict(), want[4]._asdict())
    net = torch.jit.script(Scripted())
    program = cierge.compile(net, (X,))
    for args, kwargs in (((X,), {}), ((X, 3), {}), ((X,), {"at": (1, 2), "mode": "up"}), ((), {"by": None, "x": X})):
        built_as(program(*args, **kwargs), net(*args, **kwargs))
    raises(cierge.Error, "input n is the constant 3", program, X, 4)
    raises(TypeError, "argument at is not built as", program, X, at=(1, 3))
    raises(TypeError, "argument more is not built as", program, X, more=[X])
    raises(TypeError, "input x is missing", program)
    raises(TypeError, "no argument 'q'", program, X, q=1)
    program = cierge.compile(net, (X,), {"n": 4, "at": (5, 6), "more": [X, X], "mode": "down"})
    for kwargs in ({}, {"n": 9}, {"at": (2, 2)}):
        kwargs = {"more": [X, X * 2], "mode": "down", **kwargs}
        built_as(program(X, **kwargs), net(X, **kwargs))
    raises(TypeError, "input more.0 is missing", program, X, mode="down")
    raises(ValueError, "the constant \"down\"", program, X, more=[X, X])  # that it was not given says "up"

    class State(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen.add_(1)
            return {"x": x * self.seen}
    net = torch.jit.script(State())
    program = cierge.compile(net, (X,))  # an example call shows the keys: of a copy
    same(program(X), {"x": X}), same(net(X), {"x": X})
    raises(TypeError, "give args as well", cierge.compile, net, input=["x=f32[s0, 4]"])
    same(cierge.compile(net, (X,), input=["x=f32[s0, 4]"])(X[:2]), {"x": X[:2] * 2})  # net was called once by then


def test_functions():
    @torch.jit.script
    def scripted(x, n: int):
        return [x * n]

    def plain(x, *, n=2):
        return {"y": x * n, "all": [x]}
    traced, layer = torch.jit.trace(lambda x: (x, x + 1), (X,)), nn.Linear(4, 3).eval().requires_grad_(False)
    for f, args, kwargs in ((scripted, (X, 5), {}), (scripted, (X,), {"n": 2}), (traced, (X,), {}), (plain, (X,), {}), (plain, (X,), {"n": 3}), (layer.forward, (X,), {})):
        same(cierge.compile(f, args, kwargs)(*args, **kwargs), f(*args, **kwargs))
    program = cierge.compile(scripted, input=["x=f32[s0, 4]", "n=3"])
    same(program(X), [X * 3]), same(program(X[:1], n=3), [X[:1] * 3])
    raises(TypeError, "not a int", cierge.compile, 3)

    class Loop(nn.Module):
        def forward(self, x) -> typing.List[torch.Tensor]:
            out = []
            for i in range(int(x.sum())):
                out.append(x * i)
            return out[:3]

    class Keyed(nn.Module):
        def forward(self, d: typing.Dict[str, torch.Tensor], by: typing.Dict[int, typing.List[torch.Tensor]]):
            return d["a"] - torch.stack(list(d.values())).sum(0), {k: by[k][0] for k in by}

    class Unknown(nn.Module):  # stays TorchScript, the dictionary within
        def forward(self, d: typing.Dict[str, torch.Tensor], x):
            words = "a" if bool(x.sum() > 0) else "b"
            return d[words] * 2
    raises(cierge.Error, "return them in one tensor", cierge.compile, torch.jit.script(Loop()), (X,))
    raises(TypeError, "before torch.jit", cierge.compile, torch.jit.script(Unknown()), ({"a.b": X}, X))
    net, args = torch.jit.script(Keyed()), ({"b": X, "a": X * 2}, {7: [X, X], 3: [X + 1]})
    program = cierge.compile(net, args)
    assert [s.name for s in program.inputs] == ["d.b", "d.a", "by.7.0", "by.7.1", "by.3.0"]
    same(program(*args), net(*args))
    raises(TypeError, "argument d is not built as", program, {"a": X, "b": X}, args[1])
    raises(cierge.Error, "does not read like", cierge.compile, net, args, input=["d={a: f32[5, 4]}", "by={a: f32[5, 4]}"])
    raises(cierge.Error, "given twice", cierge.compile, net, args, input=["d={a: f32[5, 4], a: f32[5, 4]}", "by={1: [f32[5, 4]]}"])
    net = torch.jit.script(Unknown())
    program = cierge.compile(net, ({"a": X, "b": X + 1}, X))
    for x in (X.abs(), -X.abs()):
        same(program({"a": X, "b": X * 3}, x), net({"a": X, "b": X * 3}, x))


def test_scripts_and_files():
    class M(nn.Module):
        def forward(self, x, n: int):
            return x * n, x.sum()
    script = torch.jit.script(M())
    got = cierge.compile(script, (X, 3))(X, 3)
    close(got[0], X * 3), close(got[1], X.sum())
    got = cierge.compile(script, input=["x=f32[s0, 4]", "n=int"])(X[:2], 5)
    close(got[0], X[:2] * 5)
    path = common.export(common.module(lambda x: x.exp()), (X,), "file")
    program = cierge.compile(path, output=SCRATCH / "kept.cierge")
    close(program(X), X.exp())
    close(cierge.load(SCRATCH / "kept.cierge")(X), X.exp())
    close(cierge.compile(str(path), target="x86-64-v2")(X), X.exp())
    assert "_handle" not in cierge.compile(path, output=SCRATCH / "other.cierge").__dict__, "it may be another machine's"
    close(cierge.compile(path, SCRATCH / "x.cierge")(X), X.exp())
    raises(TypeError, "output=", cierge.compile, common.module(lambda x: x.exp()), SCRATCH / "x.cierge")
    raises(TypeError, "output=", cierge.compile, path, SCRATCH / "x.cierge", output=SCRATCH / "y.cierge")
    raises(TypeError, "for modules", cierge.compile, path, (X,))
    raises(TypeError, "1 inputs are expected", program, X, X)
    raises(TypeError, "in order", program, x=X)
    raises(cierge.Error, "no-such-option", cierge.compile, path, no_such_option=True)


def test_functions_of_functions():
    def vmapped(x):
        return torch.vmap(lambda r: r * r.sum())(x)

    def tangent(x):
        return torch.func.jvp(lambda r: r.sin(), (x,), (x,))[1]

    def scanned(x):
        return associative_scan(lambda a, b: a * b + a, x, dim=0, combine_mode="generic")
    for f in (vmapped, tangent, scanned):
        for model, args in ((common.module(f), (X,)), (torch.export.export(common.module(f), (X,)), ())):
            close(cierge.compile(model, args)(X), f(X))


def test_inputs_of_all_kinds():
    net = common.module(lambda x, s: x * s)
    program = cierge.compile(net, (X, torch.tensor(2.0)))
    for number in (0.5, 3, True, torch.tensor(7.0), np.float32(0.25)):
        close(program(X, number), X * float(number))
    raises(cierge.Error, "expected float32[], found complex128[]", program, X, 1j)
    assert program(torch.ones(5, 4), -1e300).eq(-float("inf")).all()
    raises(TypeError, "an input is a tensor", program, X, object())
    raises(cierge.Error, "expected float32[5, 4], found float64[]", program, 1.0, 1.0)
    for dtype, numbers in ((torch.bfloat16, (1, 0.1, 3.0039, -1.00390625, 1e-40, float("inf"), float("nan"))), (torch.float16, (0.1, float("-inf"), 65519.0, 65520.0, -1e300, 65521)), (torch.float64, (0.1, 2)),
                           (torch.complex64, (1, 0.5, 1 - 2j)), (torch.complex128, (1j,)), (torch.int8, (-7, True)), (torch.uint8, (200,)), (torch.int32, (5,)), (torch.bool, (True,))):
        program = cierge.compile(common.module(lambda s: s.reshape(1)), (torch.zeros((), dtype=dtype),))
        for number in numbers:
            close(program(number), torch.tensor([number], dtype=dtype))
    program = cierge.compile(common.module(lambda s: s + 1), (torch.zeros((), dtype=torch.uint8),))
    raises(OverflowError, "256 is outside uint8", program, 256)
    raises(cierge.Error, "found float64[]", program, 1.0)
    z = torch.randn(3, dtype=torch.complex64)
    program, real = cierge.compile(common.module(lambda z: z * 2), (z,)), cierge.compile(common.module(lambda x: x * 2), (z.real,))
    close(program(z.conj()), z.conj().resolve_conj() * 2)
    close(real(z.conj().imag), z.conj().imag.resolve_neg() * 2)
    close(program.context().run(z.conj())[0], z.conj().resolve_conj() * 2)
    close(real(nn.Parameter(z.real)), z.real * 2)
    raises(BufferError, "", real, torch.ones(3).to_sparse())
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    close(real(frozen), np.full(3, 2, np.float32))
    writes = cierge.compile(common.module(lambda x: x.mul_(2)), (torch.ones(3),))
    raises(cierge.Error, "is read-only", writes, frozen)
    assert (frozen == 1).all()
    writes = cierge.compile(common.module(lambda x: x.mul_(2)), (z,))
    raises(BufferError, "resolve_conj", writes, z.conj())


def test_programs_are_copied_and_pickled():
    kept = cierge.compile(Counting(), (X,), output=SCRATCH / "counting.cierge")
    for program in (cierge.compile(Counting(), (X,)), kept):
        program(X)
        others = [copy.copy(program), copy.deepcopy({"here": program})["here"], pickle.loads(pickle.dumps(program)), copy.copy(copy.copy(program))]
        close(program(X), X * 2)
        del program
        for other in others:
            close(other(X), X), close(other(X), X * 2)
    assert len(pickle.dumps(kept)) < 1000, "its path is enough"
    net, script = Nested().eval(), torch.jit.script(Scripted())
    program = cierge.compile(net, (X, PAIR), {"mask": MASK})
    same(pickle.loads(pickle.dumps(program))(X, PAIR, mask=MASK), net(X, PAIR, mask=MASK))
    assert pickle.loads(pickle.dumps(cierge.compile(script, (X,))))(X)[4]._fields == ("a", "b")
    for thing in (kept.context(), kept.context().run(X)[0]):
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            raises(TypeError, "neither copied nor pickled", way, thing)
    try:
        kept(X[:1])
    except cierge.Error as e:
        assert str(pickle.loads(pickle.dumps(e))) == str(e) and pickle.loads(pickle.dumps(e)).exit_code == e.exit_code == 3


def test_threads_share_a_program():
    program, wrong = cierge.compile(common.module(lambda x: (x @ x.t()).sum(0) + x[:, 0]), (torch.randn(20, 20),)), []

    def work(seed):
        g = torch.Generator().manual_seed(seed)
        for _ in range(30):
            x = torch.randn(20, 20, generator=g)
            if not torch.allclose(program(x), (x @ x.t()).sum(0) + x[:, 0], atol=1e-4):
                wrong.append(seed)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not wrong

    both, reached = threading.Barrier(2, timeout=60), []

    def meet(x):
        """Gives its argument back once two calls are in it at the same time."""
        reached.append(both.wait())
        return x.clone()
    with torch.library._scoped_library("tests_meeting", "DEF") as lib:
        lib.define("meet(Tensor x) -> Tensor")
        lib.impl("meet", meet, "CPU")
        lib.impl("meet", lambda x: torch.empty_like(x), "Meta")
        program = cierge.compile(common.module(lambda x: torch.ops.tests_meeting.meet(x) + 1), (X,))
        got = [None, None]

        def call(k):
            got[k] = program(X * k)
        threads = [threading.Thread(target=call, args=(k,)) for k in range(2)]
        [t.start() for t in threads], [t.join() for t in threads]
    assert len(reached) == 2, "one call waited for the other"
    same(got, [X * 0 + 1, X + 1])


def test_outputs_and_saved_programs():
    program = cierge.compile(common.module(lambda x: (x + 1, x > 0, x.bfloat16())), (X,))
    assert repr(program).startswith("cierge.Program(x_0: float32[5, 4] -> output_0: float32[5, 4], "), program
    y, positive, half = program.context().run(X)
    assert (y.dtype, y.shape, positive.dtype, half.dtype) == ("float32", (5, 4), "bool", "bfloat16") and repr(y) == "cierge.Tensor(shape=(5, 4), dtype=float32)"
    assert common.np.asarray(y) is y.numpy() and common.np.asarray(y, "float64").dtype == "float64" and common.np.array(y, copy=True) is not y.numpy()
    close(torch.from_dlpack(y), X + 1), close(torch.from_numpy(positive.numpy()), X > 0)
    raises(TypeError, "bfloat16", half.numpy)
    close(torch.from_dlpack(half), X.bfloat16())
    raises(ValueError, "handed over", torch.from_dlpack, half)
    path = SCRATCH / "saved.cierge"
    for _ in range(2):
        program.save(path)
        same(cierge.load(path)(X), list(program(X)))
    loaded = cierge.load(path)
    loaded.save(path)  # over its own file
    same(loaded(X), list(program(X)))
    raises(OSError, "", program.save, SCRATCH / "nowhere/x.cierge")
    assert not [p for p in os.listdir(SCRATCH) if p.startswith(".cierge-")]

    async def several():
        return await asyncio.gather(*[program.acall(X * k) for k in range(4)])
    for k, (y, *_) in enumerate(asyncio.run(several())):
        close(y, X * k + 1)


def test_what_is_public_has_types():
    """For mypy --strict in users' programs (py.typed)."""
    assert (common.ROOT / "python/cierge/py.typed").exists()
    for owner in (cierge, cierge.Program, cierge.Context, cierge.Tensor):
        for name, f in list(vars(owner).items()):
            if callable(f) and not isinstance(f, type) and not name.startswith("_") and getattr(f, "__module__", "") == "cierge":
                arguments = [p for p in inspect.signature(f).parameters.values() if p.name != "self"]
                assert all(p.annotation is not p.empty for p in arguments) and inspect.signature(f).return_annotation is not inspect.Signature.empty, (owner, name)


def test_without_torch():
    """A program from a file takes and gives NumPy's arrays where nobody has imported torch."""
    path = common.export(common.module(lambda x: (x * 2, x.sum())), (X,), "plain")
    cierge.compile(path, output=SCRATCH / "plain.cierge")
    code = ("import sys, numpy as np, cierge\n"
            f"y, s = cierge.load({str(SCRATCH / 'plain.cierge')!r})(np.ones((5, 4), np.float32))\n"
            "assert 'torch' not in sys.modules and type(y) is np.ndarray and y.sum() == 40 and s == 20\n")
    env = {**os.environ, "PYTHONPATH": str(common.ROOT / "python"), "CIERGE_LIB_DIR": str(common.BUILD)}
    r = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert not r.returncode, r.stderr


if __name__ == "__main__":
    main(globals())
