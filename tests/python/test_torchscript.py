"""TorchScript programs (.pt): traced and scripted, judged by PyTorch running the same file."""
import json
import os
import pathlib
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import numpy as np
import torch
from common import SCRATCH, cli, close, main
from torch import Tensor, nn

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
    cierge.compile(path, artifact, report=report, input=inputs, **options)
    return cierge.load(artifact), json.loads(report.read_text())


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


def check(program, *calls, name, types=None, torch_nodes=None, raises=()):
    """Each of `calls` is the inputs of one call, state carried on; PyTorch runs the saved file. torch_nodes: how many may need LibTorch."""
    path = save(program, name)
    judge = torch.jit.load(str(path))
    artifact, report = compiled(path, types or [declared(x) for x in calls[0]])
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

# ---------------------------------------------------------------- scripted functions: one line of the table each

CASES = {}


def case(*calls, **options):
    def note(f):
        CASES[f.__name__] = (f, calls, options)
        return f
    return note


@case((X, Y), torch_nodes=0)
def plain(x: Tensor, y: Tensor):
    return torch.relu(x @ y.t()) + 1


@case((X,), types=[S], torch_nodes=0)
def sizes(x: Tensor):
    n = x.size(0)
    return x.view(n * 2, -1), x.numel(), x.dim(), x.shape[1]


@case((X, True), (X, False), torch_nodes=0)
def branch(x: Tensor, up: bool):
    if up:
        y = x + 1
    else:
        y = x * 2
    return y - 3


@case((X,), (X - 10,))
def branch_on_data(x: Tensor):
    if bool(x.sum() > 0):
        return x.exp()
    return x.abs().sqrt()


@case((X, 3), torch_nodes=0)
def early_return(x: Tensor, n: int):
    if n > 2:
        return x * n
    y = x + n
    if n < 0:
        return y.neg()
    return y


@case((X, 0), (X, 1), (X, 5))
def elif_chain(x: Tensor, n: int):
    if n == 0:
        z = x + 1
    elif n == 1:
        z = x.sin()
    else:
        z = x.cos()
    return z.sum(1)


@case((X,), torch_nodes=0)
def counted_loop(x: Tensor):
    for i in range(4):
        x = x * 0.5 + i
    return x


@case((X, 3), (X, 0), (X, 9))
def loop_of_n(x: Tensor, n: int):
    for i in range(n):
        x = torch.tanh(x) + i
    return x


@case((X,), (X + 40,))
def loop_on_data(x: Tensor):
    n = 0
    while bool(x.abs().max() > 1) and n < 50:
        x = x * 0.75
        n += 1
    return x, n


@case((X, 4))
def nested_loops(x: Tensor, n: int):
    total = torch.zeros([6])
    for i in range(2):
        for j in range(n):
            total = total + x[i] * j
    return total


@case((X,), torch_nodes=0)
def list_append(x: Tensor):
    parts: List[Tensor] = []
    for i in range(3):
        parts.append(x * i)
    parts.insert(1, x)
    return torch.stack(parts), len(parts)


@case((X, 3), (X, 1))
def list_of_n(x: Tensor, n: int):
    parts: List[Tensor] = []
    for i in range(n):
        parts.append(x[i] + i)
    return torch.stack(parts).sum(0)


@case((X, 3), (X, 2))
def cat_of_n(x: Tensor, n: int):
    parts = [x]
    for i in range(n):
        parts.append(x[:1] * i)
    y = torch.cat(parts, 0)
    return y, y.size(0)


@case((X,), torch_nodes=0)
def list_idioms(x: Tensor):
    a = [1, 2, 3]
    b = a + [4]
    b.reverse()
    b.pop()
    b[0] = 7
    c = [v * 2 for v in b]
    return x * c[0] + c[-1] + len(c[1:]) + sum(c) + max(b) + min(a) + (1 if 3 in b else 0)


@case(([X, Y, X],), torch_nodes=0)
def list_of_tensors(xs: List[Tensor]):
    y = xs[0]
    for t in xs[1:]:
        y = y + t
    return y, xs


@case((X,), torch_nodes=0)
def dictionary(x: Tensor):
    d: Dict[str, Tensor] = {}
    d["a"] = x
    d["b"] = x * 2
    if "c" not in d:
        d["c"] = d["a"] + d["b"]
    total = torch.zeros_like(x)
    for k in d.keys():
        total = total + d[k]
    return total, d


@case((X, 2), (X, 7))
def dictionary_of_n(x: Tensor, n: int):
    d: Dict[int, Tensor] = {0: x}
    d[n] = x + n
    y = d[0] + d[n]
    if 7 in d:
        y = y * 2
    return y + len(d)


@case((X,), torch_nodes=0)
def tuples(x: Tensor):
    a, b = torch.max(x, 1)
    t = (a, (b, x))
    u, v = t[1]
    return t, u, v + 1


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@case((X, Y), torch_nodes=0)
def named_tuple(x: Tensor, y: Tensor):
    p = Pair(x, y)
    return p.first * p.second, Pair(y, x)


@case((X, None), torch_nodes=0)
def optional_none(x: Tensor, m: Optional[Tensor]):
    if m is not None:
        x = x * m
    return x + 1


@case((X, Y), torch_nodes=0)
def optional_given(x: Tensor, m: Optional[Tensor]):
    if m is not None:
        x = x * m
    return x + 1


@case((X, True), (X, False))
def optional_inside(x: Tensor, b: bool):
    m: Optional[Tensor] = None
    if b:
        m = x.sum()
    y = x + 1
    if m is not None:
        y = y * m
    return y


@case((X,), torch_nodes=0)
def in_place(x: Tensor):
    y = x.clone()
    y.add_(1).mul_(2)
    y[0] = 5.0
    y[:, 1] += 3
    return y, x


@case((X,))
def in_place_input(x: Tensor):
    x.mul_(2)
    return x + 1


@case((X, 2), (X, 4))
def in_place_loop(x: Tensor, n: int):
    y = torch.zeros_like(x)
    z = x + 1
    for i in range(n):
        y[i] = z[i] * i
    return y * 2, z


@case((X,), torch_nodes=0)
def strings(x: Tensor):
    mode = "add"
    s = mode + "_" + "x".upper()
    if s == "add_X" and len(s) == 5 and "{}-{}".format(1, "b") == "1-b":
        return x + 1
    return x


@case((X, 3), (X, 33))
def strings_of_n(x: Tensor, n: int):
    s = str(n)
    return x * len(s) + (1 if s == "33" else 0)


@case((X, 2), raises=[(X, -1), (X, 100)])
def exceptions(x: Tensor, n: int):
    if n < 0:
        raise ValueError("n is negative")
    assert n < 10, "n is too big"
    return x + n


@case((X,), raises=[(X - 100,)])
def exception_on_data(x: Tensor):
    if bool(x.max() < 0):
        raise RuntimeError("all is below zero: {}".format(x.max()))
    return x.sqrt()


@case((X, 1), (X, 2), raises=[(X, 3)])
def exception_in_else(x: Tensor, n: int):
    if n == 1:
        y = x + 1
    elif n == 2:
        y = x + 2
    else:
        raise ValueError("n")
    return y * 2


@case((X, 2, 3), torch_nodes=0)
def numbers(x: Tensor, a: int, b: int):
    c = a // b + a % b - b ** 2
    d = a / b
    e = float(c) * 0.5 + min(a, b) - max(d, 1.0)
    f = int(d * 10) if a < b else abs(a)
    return x * e, c, d, f, not (a == b), a & b, a | b


@case((X,), torch_nodes=0)
def items(x: Tensor):
    m = x.max().item()
    n = int(x.argmax())
    return x * m, n, float(x[0, 0]), bool(x[0, 0] > 0)


@case((X, torch.tensor([2, 0])), torch_nodes=0)
def indexing(x: Tensor, i: Tensor):
    return x[i], x[:, 1:3], x[..., -1], x[None], x[i, i], x[1:-1:2]


@case((X,), types=[S])
def split_and_unbind(x: Tensor):
    a, b = x.split(3, dim=1)
    parts = x.unbind(1)
    return a + b, parts[0] * parts[-1], torch.chunk(x, 2, 1)


@case((X,))
def data_dependent(x: Tensor):
    i = torch.nonzero(x > 1)
    y = x[x > 1]
    return i.size(0), y.sum(), y


@case((X,), torch_nodes=0)
def questions(x: Tensor):
    y = x
    if x.dtype == torch.float32 and x.is_floating_point() and x.device.type == "cpu" and not x.requires_grad:
        y = y + x.size(0)
    if x.dim() == 2 and x.is_contiguous() and isinstance(x, Tensor):
        y = y * 2
    return y.to(torch.float64), torch.zeros(x.shape, dtype=x.dtype, device=x.device)


@case((X, 2), types=[S, "int"])
def mixed(x: Tensor, n: int):
    out: List[Tensor] = []
    h = torch.zeros([6])
    for i in range(x.size(0)):
        h = torch.tanh(x[i] + h * n)
        out.append(h)
    return torch.stack(out), h


@case((X, 3))
def made_of_numbers(x: Tensor, n: int):
    return torch.tensor([1.0, 2.0]), torch.tensor([n, n + 1]), torch.full([n], 2.5), torch.arange(n), x + torch.tensor(n)


@case((X, Y), torch_nodes=0)
def comprehension(x: Tensor, y: Tensor):
    return [t.sum() for t in [x, y]], [t + i for i, t in enumerate([x, y])], [a * b for a, b in zip([x, y], [y, x])]


@case((X,))
def printing(x: Tensor):
    print("called")
    return x + 1


# ---------------------------------------------------------------- modules

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.drop = nn.Dropout(0.5)
        self.scale: float = 0.5

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x))).mean([2, 3])
        for b in self.blocks:
            x = x + b(self.drop(x)) * self.scale
        return x


class Counter(nn.Module):
    n: int
    last: Optional[Tensor]

    def __init__(self):
        super().__init__()
        self.n = 0
        self.register_buffer("total", torch.zeros(6))
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor):
        self.n += 1
        self.total += x.sum(0)
        return self.inner(x) + self.n, self.total.clone()


class Hidden(nn.Module):
    """Its first call begins with nothing."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 5)
        self.h = torch.zeros(0)
        self.calls: int = 0

    def forward(self, x: Tensor):
        if self.calls == 0:
            self.h = torch.zeros(x.size(0), 5)
        self.h = self.cell(x, self.h)
        self.calls = self.calls + 1
        return self.h


class Recent(nn.Module):
    """A list that grows, and is cut."""
    kept: List[Tensor]

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.kept = []

    def forward(self, x: Tensor):
        y = torch.relu(self.linear(x))
        self.kept.append(y.sum(0))
        if len(self.kept) > 2:
            self.kept = self.kept[1:]
        return y + torch.stack(self.kept).mean(0)


def test_functions():
    failed = []
    only = os.environ.get("ONLY", "").split()
    for name, (f, calls, options) in CASES.items():
        if only and name not in only:
            continue
        try:
            check(torch.jit.script(f), *calls, name=name, **options)
        except Exception as e:
            failed.append(f"{name}: {type(e).__name__}: {str(e)[:300]}")
    print("\n".join(failed))
    assert not failed, f"{len(failed)} of {len(CASES)} functions"


def test_trace():
    torch.manual_seed(0)
    m, x = Net().eval(), torch.randn(2, 3, 8, 8)
    path = save(torch.jit.trace(m, x), "traced")
    artifact, report = compiled(path, ["f32[s0, 3, s1, s2]"])
    for shape in ((2, 3, 8, 8), (1, 3, 5, 7)):
        x = torch.randn(shape)
        same(run(artifact.context(), [x]), m(x))
    assert report["nodes"]["torch"] == 0, report["nodes"]


def test_script():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    check(torch.jit.script(Net().eval()), (x,), (torch.randn(3, 3, 8, 8),), name="scripted", types=["f32[s0, 3, 8, 8]"], torch_nodes=0)


def test_training_mode():
    """Batch statistics change from call to call; nothing else does."""
    torch.manual_seed(0)
    m = Net().train()
    m.drop.eval()
    check(torch.jit.script(m), (torch.randn(2, 3, 8, 8),), (torch.randn(2, 3, 8, 8),), name="training")


def test_state():
    torch.manual_seed(0)
    check(torch.jit.script(Counter()), (X,), (Y,), (X,), name="counter", torch_nodes=0)
    check(torch.jit.script(Hidden()), (X,), (Y,), (X,), name="hidden", torch_nodes=0)


def test_state_of_changing_kind():
    torch.manual_seed(0)
    report = check(torch.jit.script(Recent()), (X,), (Y,), (X,), (Y,), name="recent")
    assert report["nodes"]["native"] > 0, report["nodes"]


def refused(f, types, *texts, code=3, name="refused", options=()):
    path = save(f if isinstance(f, torch.jit.ScriptModule) else torch.jit.script(f), name)
    given = [x for k, v in zip(names_of(path), types) if v for x in ("--input", f"{k}={v}")]
    r = cli("compile", path, "-o", SCRATCH / "refused.cierge", *given, *options, check=code)
    for text in texts:
        assert text in r.stderr, r.stderr
    assert r.stderr.count("\n") == 1, r.stderr


def add(x: Tensor, y: Tensor):
    return x + y


def scaled(x: Tensor, by: int, half: float, negate: bool):
    y = x * by + half
    return -y if negate else y


def test_inputs_that_are_not_known():
    refused(add, ["f32[2]", ""], "the type of input y (Tensor) is not known", "--inputs FILE", "--input 'y=f32[…]'")
    refused(add, ["f32[2]", "int"], "input y is Tensor in the program: 'int' is no tensor")
    refused(add, ["f32[2]", "3"], "input y is Tensor in the program: '3' is a number")
    refused(add, ["f32[2]", "f31[2]"], "input y: ")
    refused(add, ["f32[2]", "f32[3]"], "broadcast", "test_torchscript.py")
    refused(add, ["f32[2]", "f32[2]"], "the program has no input z: it takes x, y", options=["--input", "z=f32[2]"])
    refused(add, ["f32[2]", "f32[2]"], "--input 'z': it reads like", code=2, options=["--input", "z"])
    refused(scaled, ["f32[2]", "f32[2]", "0.5", "true"], "input by is int in the program: 'f32[2]' is a tensor")
    refused(scaled, ["f32[2]", "2.5", "0.5", "true"], "input by is int in the program: '2.5' is a number")
    refused(scaled, ["f32[2]", "2", "0.5", "1"], "input negate is bool in the program: '1' is a number")


def test_types_by_example():
    """Tensors give their types; numbers are constants of the program, as torch.export makes them, unless --input says otherwise."""
    path = save(torch.jit.script(scaled), "by_example")
    x = torch.randn(2, 3)
    for negate in (False, True):
        np.savez(SCRATCH / "example.npz", x=x.numpy(), by=np.array(3), half=np.array(0.5), negate=np.array(negate))
        for more, constants in (((), 3), (("--input", "by=int"), 2)):
            cli("compile", path, "-o", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", *more, check=0)
            program = cierge.load(path.with_suffix(".cierge"))
            assert sum(i.constant is not None for i in program.inputs) == constants
            cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", "--outputs", SCRATCH / "result.npz", check=0)
            close(np.load(SCRATCH / "result.npz")["output_0"], scaled(x, 3, 0.5, negate))
        np.savez(SCRATCH / "example.npz", x=x.numpy(), by=np.array(4), half=np.array(0.5), negate=np.array(negate))
        cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "example.npz", "--outputs", SCRATCH / "result.npz", check=0)
        close(np.load(SCRATCH / "result.npz")["output_0"], scaled(x, 4, 0.5, negate))


def first_column(x: Tensor):
    return x[:, :1].squeeze(0)


def found(x: Tensor, y: Tensor):
    return torch.nonzero(x)[:, 0].float() + y


def halves(x: Tensor):
    return x.view(2, -1)


def test_sizes_that_types_took_for_granted():
    """A size that appears at run time is taken as no 1 to be stretched: asserted where PyTorch would stretch it, an error where it would."""
    x, y = torch.ones(3), torch.arange(3.)
    two, one = torch.tensor([0., 1, 1]), torch.tensor([0., 0, 1])
    check(torch.jit.script(found), (x, y), name="found", raises=[(two, y)])
    for options in ({"min_region": 5}, {"no_cost_drop": True}, {"backends": "torch"}):  # wherever the tensor of the size is computed
        same(run(compiled(save(torch.jit.script(found), "found"), [declared(x), declared(y)], **options)[0].context(), (x, y)), found(x, y))
    context = compiled(save(torch.jit.script(found), "found"), [declared(x), declared(y)])[0].context()
    for given in ((one, y),):
        try:
            run(context, given)
            raise AssertionError("no error")
        except cierge.Error as e:
            assert e.exit_code == 3 and "sizes of tensors that meet differ" in str(e) and "test_torchscript.py" in str(e), e
    check(torch.jit.script(add), (x, y), name="meet", types=["f32[s0]", "f32[3]"], raises=[(torch.ones(2), y)], torch_nodes=0)
    check(torch.jit.script(halves), (torch.ones(4, 3),), (torch.ones(8, 3),), name="halves", types=["f32[s0, 3]"], raises=[(torch.ones(3, 3),)])
    refused(first_column, ["f32[s0, 6]"], "has a type that appears at run time", "sizes that appear at run time decide over its result's")
    check(torch.jit.script(first_column), (torch.ones(1, 6),), name="first", types=["f32[1, 6]"], torch_nodes=0)


def stores(x: Tensor):
    torch.save(x, "/tmp/x.pt")
    return x


def reads(x: Tensor):
    return x + torch.from_file("/etc/hostname", False, 2, dtype=torch.float32)


def test_unsafe_programs():
    for f in (stores, reads):
        refused(f, ["f32[2]"], "aten::" + {"stores": "save", "reads": "from_file"}[f.__name__], "--allow-unsafe-ops")


def test_damaged_archives():
    """A byte that changed, an archive that is cut off: an error of this program's own reader, before LibTorch sees it."""
    path = save(torch.jit.script(Counter()), "damaged")
    whole = path.read_bytes()
    for k, data in enumerate([whole[:200], whole[:-30], whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1:]]):
        bad = SCRATCH / f"damaged-{k}.pt"
        bad.write_bytes(data)
        r = cli("compile", bad, "-o", SCRATCH / "damaged.cierge", "--input", "x=f32[4, 6]")
        assert r.returncode == 3 and r.stderr.startswith("cierge: "), (k, r.returncode, r.stderr)


if __name__ == "__main__":
    main(globals())
