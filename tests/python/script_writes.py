"""TorchScript programs given as text that write to what they are given: judged by their results, by what they leave in their inputs, and in a buffer.

torch.jit compiles a Python class once, so each program is a class of a module of its own."""
import importlib.util

from common import SCRATCH, close, torch
from torchscript import compiled, leaves, save, tensor

SOURCE = """import torch
from torch import Tensor


class M(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("k", torch.arange(12.).reshape(4, 3))

    def forward(self, {arguments}):
        {body}
"""
_count = 0


def program(arguments, body):
    """The class that `body` makes, and a name for it. Statements stand in lines, or between semicolons."""
    global _count
    _count += 1
    name = f"script_{_count}"
    path = SCRATCH / f"{name}.py"
    path.write_text(SOURCE.format(arguments=arguments, body=body.replace("; ", "\n").replace("\n", "\n        ")))
    spec = importlib.util.spec_from_file_location(name, path)
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    return m.M, name


def copies(inputs):
    return [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]


def compare(context, eager, calls, body):
    """State is carried on from call to call, here and there. A call that PyTorch refuses is one that raises here."""
    for inputs in calls:
        mine, theirs, k = copies(inputs), copies(inputs), eager.k.clone()
        try:
            want = [tensor(y) for y in leaves(eager(*theirs))]
        except Exception:
            want, eager.k = None, k
        try:
            got = [torch.from_dlpack(y) for y in context.run(*mine)]
        except Exception as e:
            assert want is None, f"{body}: {e}"
            continue
        assert want is not None, f"{body}: PyTorch raises"
        for a, b in zip(got + mine, want + theirs, strict=True):
            if isinstance(b, torch.Tensor):
                assert a.shape == b.shape, (body, a.shape, b.shape)
                try:
                    close(a, b)
                except AssertionError as e:
                    raise AssertionError(f"{body}, of {inputs}: {e}") from None


def check(arguments, types, body, calls):
    made, name = program(arguments, body)
    loaded, report = compiled(save(torch.jit.script(made()), name), types)
    compare(loaded.context(threads=1), made(), calls, body)
    return report


def counted(*sizes):
    return torch.arange(1., torch.Size(sizes).numel() + 1).reshape(sizes)


def random_body(r):
    """A program over x, c1 and c2 whose branches and loops write through views to x, to a buffer and to values made of them."""
    names = ["a", "b", "x", "self.k"]

    def block(depth):
        return ["    " + line for _ in range(r.randint(1, 2)) for line in statement(depth + 1)]

    def statement(depth):
        kind = r.random()
        if kind < 0.45:
            return [r.choice(names) + r.choice(["", "[0]", "[1:]", "[:, 1:]", ".t()"]) + r.choice([".add_(1)", ".mul_(2)", ".sub_(3)"])]
        if kind < 0.65 or depth == 2:
            return [f"{r.choice('ab')} = " + r.choice(["{}.clone()", "{} + 1", "{}", "{}.t().t()", "{} * 2", "{0} + b"]).format(r.choice(names[:3]))]
        if kind < 0.85:
            return [f"if c{r.randint(1, 2)} > {r.randint(0, 1)}:", *block(depth)] + (["else:", *block(depth)] if r.random() < 0.5 else [])
        return [f"for i{depth} in range(c{r.randint(1, 2)}):", *block(depth)]
    return "\n".join(["a = x.clone()", "b = x * 2", *(line for _ in range(r.randint(2, 5)) for line in statement(0)), "return a, b, self.k * 1"])
