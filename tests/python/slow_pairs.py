"""Pointwise rows of the operator table inside the loops of every kind of kernel, against eager PyTorch.

What a kernel's loops look like is decided by what surrounds an operator: sums over rows and columns, pieces, tiles, lanes, rows kept in
memory, parts of concatenations, epilogues. Each kind has every row of the table in it, before and after, here: one program a kind and dtype.
`python tests/python/slow_pairs.py --every N` takes every N-th row, by turns (1: all of them, for a change of how loops are written)."""
import argparse
import sys
import traceback

import common
import torch
import torch.nn.functional as F
from common import SCRATCH
from row_calls import operator
from row_units import quick_compiler
from rows import native_rows

import cierge
import judge

ROWS, COLUMNS = 24, 70  # columns: a piece of lanes and a rest
DTYPES = torch.float32, torch.float64, torch.float16
# A rounding in what comes before moves these by a whole step: they stand where their operand is an input.
STEPS = "floor", "ceil", "round", "trunc", "fix", "frac", "fmod", "remainder", "sign", "sgn", "heaviside", "eq", "ne", "lt", "gt", "le", "ge", "equal", "less", "greater", \
    "not_equal", "nextafter", "signbit", "logical", "isclose", "isnan", "isinf", "isfinite", "hardshrink", "threshold", "div.Tensor_mode", "relu6", "bitwise", "bucketize"
# Their values grow beyond any tolerance near poles and where they overflow.
STEEP = "tan", "digamma", "lgamma", "special_", "polygamma", "mvlgamma", "pow", "float_power", "reciprocal", "div", "true_divide", "divide", "rsqrt", "erfinv", "logit", "atanh", \
    "log", "xlogy", "exp", "sinh", "cosh", "addcdiv", "acos", "asin", "arc", "hypot", "sinc", "ldexp", "expm1"

W = torch.randn(COLUMNS, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
K = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
I = torch.tensor([5, 0, 23, 23, 7, 1])


def image(x):
    return x[:, :64].reshape(ROWS // 2, 2, 8, 8)


BEFORE = {  # of a kernel whose loops are made by what follows
    "sum of columns": lambda f, x: f(x).sum(0),
    "sum of rows": lambda f, x: f(x).sum(1),
    "mean of all": lambda f, x: f(x).mean(),
    "largest of columns": lambda f, x: f(x).amax(0),
    "softmax of columns": lambda f, x: f(x).softmax(0),
    "softmax of rows": lambda f, x: f(x).softmax(1),
    "cumsum of columns": lambda f, x: f(x).cumsum(0),
    "layer norm": lambda f, x: F.layer_norm(f(x), (COLUMNS,)),
    "transposed": lambda f, x: f(x).t().contiguous(),
    "read transposed": lambda f, x: f(x.t()),
    "joined": lambda f, x: torch.cat([f(x), x, f(x[:, :3])], 1),
    "padded": lambda f, x: F.pad(f(x), (3, 2), value=1.0),
    "gathered": lambda f, x: f(x)[I],
    "product": lambda f, x: f(x) @ W.to(x.dtype),
    "convolution": lambda f, x: F.conv2d(f(image(x)), K.to(x.dtype)),
    "pool": lambda f, x: F.max_pool2d(f(image(x)), 2),
    "resized": lambda f, x: F.interpolate(f(image(x)), size=(12, 12), mode="bilinear"),
    "other dtype": lambda f, x: f(x).to(torch.float32 if x.dtype != torch.float32 else torch.float64),
}
AFTER = {
    "softmax of columns": lambda f, x: f(x.softmax(0)),
    "softmax of rows": lambda f, x: f(x.softmax(1)),
    "layer norm": lambda f, x: f(F.layer_norm(x, (COLUMNS,))),
    "less the mean of columns": lambda f, x: f(x - x.mean(0)),
    "less the mean of rows": lambda f, x: f(x - x.mean(1, keepdim=True)),
    "cumsum": lambda f, x: f(x.cumsum(1) / 8),
    "product": lambda f, x: f(x @ W.to(x.dtype) / 8),
    "convolution": lambda f, x: f(F.conv2d(image(x), K.to(x.dtype)) / 4),
    "pool": lambda f, x: f(F.avg_pool2d(image(x), 2)),
    "resized": lambda f, x: f(F.interpolate(image(x), size=(12, 12), mode="bilinear")),
    "gathered": lambda f, x: f(x[I]),
}


def functions():
    """(row, f) of each pointwise row that takes tensors and numbers alone."""
    for name, traits in sorted(native_rows().items()):
        if "pointwise" not in traits or name.startswith(("bitwise", "_cast", "lerp_", "__")):
            continue
        op = operator(name)
        given = [a for a in op._schema.arguments if not a.has_default_value()]
        if given and all(str(a.type) in ("Tensor", "number") for a in given) and str(given[0].type) == "Tensor":
            yield name, lambda x, op=op, given=given: floating(op(x, *[(x * 0.5 + 1 if str(a.type) == "Tensor" else 0.75) for a in given[1:]]), x)


def floating(y, x):
    return y if y.dtype == x.dtype else y.to(x.dtype)


class Pairs(torch.nn.Module):
    def __init__(self, context, some):
        super().__init__()
        self.context, self.some = context, some

    def forward(self, x):
        return tuple(self.context(f, x) for _, f in self.some)


def raises(f, x):
    try:
        f(x)
        return False
    except (RuntimeError, TypeError, NotImplementedError):
        return True


def failures(kind, context, dtype, some):
    x = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(len(kind)), dtype=torch.float64)
    x = (x if "product" in kind or "convolution" in kind else x.abs() * 0.7 + 0.05).to(dtype)
    some = [(name, f) for name, f in some if not raises(lambda v, f=f: context(f, v), x)]
    if not some:
        return 0, []
    model = Pairs(context, some)
    out = SCRATCH / "pairs.cierge"
    cierge.compile(common.export(model, (x,), "pairs"), output=out, cc=quick_compiler(1))
    got = [torch.from_dlpack(t) for t in cierge.load(out).context(threads=1).run(x)]
    bad, exactly = [], (lambda f, x: f(x)) if context is BEFORE["other dtype"] else context  # a float64 would become a float there
    for (name, f), g, want in zip(some, got, model(x)):
        if (text := judge.difference(g, want, exactly(f, x.double()).to(torch.float64) if dtype != torch.float64 else None)):
            bad.append(f"{name}, {kind}, {str(dtype)[6:]}: {text}")
    return len(some), bad


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--every", type=int, default=8)
    p.add_argument("--only", default="", help="kinds whose name has this")
    a = p.parse_args()
    torch.set_num_threads(1)
    everything, passed, failed, turn = list(functions()), 0, 0, 0
    for after, kinds in ((False, BEFORE), (True, AFTER)):
        rows = [(n, f) for n, f in everything if not (after and n.startswith(STEPS + STEEP))]
        for kind, context in kinds.items():
            for dtype in DTYPES:
                turn += 1
                if a.only not in kind:
                    continue
                try:
                    n, bad = failures(f"{'after' if after else 'before'} {kind}", context, dtype, rows[turn % a.every::a.every])
                except Exception:
                    n, bad = 1, [f"{kind}, {dtype}: {traceback.format_exc()}"]
                passed, failed = passed + n - len(bad), failed + len(bad)
                for text in bad:
                    print("FAILED", text, flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
