"""Scripted functions: a case each, what TorchScript has of branches, loops, lists, dictionaries, texts, exceptions."""
import os
import pathlib
import sys
from typing import Dict, List, NamedTuple, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch
from common import main
from torch import Tensor
from torchscript import S, X, Y, check

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


@case((X[:, :2],), (Y[:, :2],))
def histograms(x: Tensor):
    h, edges = torch.histogramdd(x, [3, 4])
    g, _ = torch.histogramdd(x, [torch.arange(-3.0, 4.0), torch.arange(3.0)])
    f, more = torch.histogramdd(x, 5)
    return h, edges, g, f, more


@case((X[:, :2],), types=["f32[4, 2]"], torch_mode="script")
def histogram_in_a_graph(x: Tensor):
    h, edges = torch.histogramdd(x, [3, 4])
    return h, edges[0], edges[1]


@case((X,), (Y,))
def segments(x: Tensor):
    by = torch.tensor([1, 0, 3])
    return torch.segment_reduce(x, "max", lengths=by), torch.segment_reduce(x, "sum", offsets=torch.tensor([0, 3, 4]))


@case((X,), (Y * 3,))
def resized(x: Tensor):
    n = int(x.max())
    y = torch.nn.functional.adaptive_avg_pool1d(x[None], [n])
    z = torch.nn.functional.interpolate(x[None, None], [n, 5], mode="nearest")
    w = torch.nn.functional.interpolate(x[None], scale_factor=float(n) / 2, mode="linear")
    return y, z, w, torch.nn.functional.interpolate(x[None, None], [4, n], mode="bilinear", align_corners=True) + 1


@case((X,), types=[S])
def long_list(x: Tensor):
    sizes = [x.size(0)] * 70000
    return x + len(sizes), sizes[-1]


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


if __name__ == "__main__":
    main(globals())
