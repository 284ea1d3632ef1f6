"""What the tests of TorchScript programs share: saving, compiling and running them, judged by PyTorch running the same file."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch
from common import SCRATCH, cli, close
from torch import Tensor

import cierge


def save(program, name):
    path = SCRATCH / f"{name}.pt"
    torch.jit.save(program, str(path))
    return path


def declared(x):
    if isinstance(x, Tensor):
        word = {torch.float32: "f32", torch.int64: "i64", torch.bool: "bool", torch.float64: "f64", torch.int32: "i32"}[x.dtype]
        return f"{word}[{', '.join(map(str, x.shape))}]"
    if isinstance(x, (list, tuple)):
        return f"[{', '.join(map(declared, x))}]"
    return {bool: "bool", int: "int", float: "float", type(None): "none"}[type(x)]


def leaves(x):
    if isinstance(x, (list, tuple)):
        return [y for i in x for y in leaves(i)]
    if isinstance(x, dict):
        return [y for i in x.values() for y in leaves(i)]
    return [x]


def names_of(path):
    return [a.name for a in torch.jit.load(str(path)).forward.schema.arguments[1:]]


def compiled(path, types, **options):
    artifact, report = path.with_suffix(".cierge"), path.with_suffix(".json")
    inputs = [f"{k}={v}" for k, v in zip(names_of(path), types)]
    cierge.compile(path, output=artifact, report=report, input=inputs, **options)
    return cierge.load(artifact, allow_unsafe_ops=options.get("allow_unsafe_ops", [])), json.loads(report.read_text())


def tensor(x):
    return x.clone() if isinstance(x, Tensor) else torch.tensor(x, dtype={bool: torch.bool, int: torch.int64, float: torch.float64}[type(x)])


def run(context, inputs):
    given = iter([tensor(x) for x in leaves(list(inputs)) if x is not None])
    for i, spec in enumerate(context.program.inputs):
        if spec.constant is None:
            context.set_input(i, next(given))
    context.call()
    outputs = [context.output(i) for i in range(len(context.program.outputs))]
    return [None if t is None else torch.from_dlpack(t) for t in outputs]


def same(got, want):
    want = leaves(want)
    assert len(got) == len(want), (len(got), len(want))
    for g, w in zip(got, want):
        assert (g is None) == (w is None)
        if w is not None:
            w = tensor(w)
            assert g.dtype == w.dtype and g.shape == w.shape, (g.dtype, w.dtype, g.shape, w.shape)
            close(g, w)


def check(program, *calls, name, types=None, torch_nodes=None, raises=(), **options):
    """Each of `calls` is the inputs of one call, state carried on; PyTorch runs the saved file. torch_nodes: how many may need LibTorch. options: of the compilation."""
    path = save(program, name)
    judge = torch.jit.load(str(path))
    artifact, report = compiled(path, types or [declared(x) for x in calls[0]], **options)
    context = artifact.context(threads=1)
    for inputs in calls:
        want = judge(*[x.clone() if isinstance(x, Tensor) else x for x in inputs])
        same(run(context, inputs), want)
    for inputs in raises:
        try:
            judge(*inputs)
            raise AssertionError("PyTorch does not raise")
        except Exception as e:
            assert not isinstance(e, AssertionError) or "does not raise" not in str(e)
        try:
            run(context, inputs)
        except cierge.Error as e:
            assert e.exit_code == 3, e
        else:
            raise AssertionError("no error")
        same(run(context, calls[0]), judge(*calls[0]))  # the context stays usable
    if torch_nodes is not None:
        assert report["nodes"]["torch"] <= torch_nodes, report["nodes"]
    return report


X = torch.linspace(-2, 3, 24).reshape(4, 6)
Y = torch.linspace(1, -1, 24).reshape(4, 6)
S = "f32[s0, 6]"  # X with a symbolic first size


def refused(f, types, *texts, code=3, name="refused", options=()):
    path = save(f if isinstance(f, torch.jit.ScriptModule) else torch.jit.script(f), name)
    given = [x for k, v in zip(names_of(path), types) if v for x in ("--input", f"{k}={v}")]
    r = cli("compile", path, "-o", SCRATCH / "refused.cierge", *given, *options, check=code)
    for text in texts:
        assert text in r.stderr, r.stderr
    assert r.stderr.count("\n") == 1, r.stderr
