"""Units of the row test: one call of a row in one dtype and form, its data, its text, and programs of them that are compiled and called."""
import hashlib
import json
import os
import re

import torch
from common import SCRATCH, cli
from row_calls import FIRST_ONLY, WORDS, Call, Size, X, size

import cierge

FIRST_COMPARED = FIRST_ONLY | {"native_batch_norm", "_native_batch_norm_legit_no_training", "native_dropout", "native_group_norm"}
ROUNDS = {"prod", "prod.dim_int", "cumprod"}  # each of n factors rounds: n * eps of the product, whatever the order
# Data of which PyTorch's result depends on the order or the width in which it computes, and its process may end: doc/known-failures.md.
ARBITRARY = [
    (r"(native_)?(layer|group|batch|instance)_norm|rms_norm|_native_batch_norm", "huge"),
    (r"(var|std)[._]|(var|std)$", "huge", torch.float64, torch.float16, torch.bfloat16),  # Welford's means overflow later than sums
    (r"linalg_vector_norm|norm\.|_weight_norm", "huge", torch.float64, torch.float16, torch.bfloat16),
    (r"(gru|lstm|rnn_tanh|rnn_relu)_cell|v?dot$|(add)?mv", "huge"),  # products overflow by the order in which they are summed
    (r"(var|std)_mean|native_layer_norm|native_group_norm", "inf"),  # the mean is NaN, but where the infinite number comes last
    (r"(_scaled_dot|scaled_dot)", "nan inf"),  # numbers behind the mask
    (r"mode", "nan"),  # sorted by a comparison that no NaN obeys
    (r"lcm", "special"),  # the process dies of the least integer
]


# ---------------------------------------------------------------- data

SPECIAL_INTS = [0, 1, -1, 2, 3, -2, 7, 31, 63, 100]


def integers(dtype, shape, g, special):
    info = torch.iinfo(dtype)
    if special:
        values = [v for v in SPECIAL_INTS if v >= info.min] + [info.min, info.min + 1, info.max, info.max - 1]
        values = [v - 2**64 if v >= 2**63 else v for v in values]  # as bits
        return torch.tensor(values)[torch.randint(len(values), shape, generator=g)].to(dtype)
    return torch.randint(0 if info.min == 0 else -9, 10, shape, generator=g).to(dtype)


def floats(dtype, shape, g, kind):
    x = torch.randn(shape, generator=g, dtype=torch.float64) * 2
    if kind == "normal":
        return x.to(dtype)
    info = torch.finfo(dtype)
    least = info.smallest_normal * (2.0 ** -3 if dtype is torch.bfloat16 else info.eps)
    values = {"nan": [float("nan")], "inf": [float("inf"), -float("inf")], "small": [0.0, -0.0, least, -least, info.smallest_normal],
              "huge": [info.max, info.max / 2]}
    values["special"] = sum(values.values(), []) + [info.min, 0.5, -0.5, 1.0, -1.0, 2.0, 2.5, -3.0, 3.1415927, 10.0, -20.0, 90.0, -90.0, 1 / info.eps, info.eps]
    chosen = torch.tensor(values[kind], dtype=torch.float64)[torch.randint(len(values[kind]), shape, generator=g)]
    often = {"special": 0.9, "small": 0.7}.get(kind, 0.04)
    return torch.where(torch.rand(shape, generator=g) < often, chosen, x).to(dtype)


def data(x, dtype, n, kind, g):
    """The tensor that stands for the argument x."""
    shape = [size(d, n) for d in x.shape]
    dtype = x.dtype or dtype
    if x.below is not None:
        below = size(x.below, n)
        return torch.randint(max(below, 1), shape, generator=g)
    if dtype is torch.bool:
        t = torch.randint(2, shape, generator=g).bool()
    elif dtype.is_floating_point:
        t = floats(dtype, shape, g, kind)
    else:
        t = integers(dtype, shape, g, kind != "normal")
    if x.positive and dtype.is_signed:
        t = t.abs()
    if x.sorted and t.dim():
        t = torch.where(t != t, torch.ones_like(t), t).sort(-1)[0]
    return t


def strided(tensors):
    return [torch.stack([t, t], -1)[..., 0] if t.dim() else t for t in tensors]


# ---------------------------------------------------------------- a unit: one call in one dtype and form

class Unit(Call):
    def __init__(self, row, traits, call, dtype, form, name):
        super().__init__(row, call, dtype)
        self.form, self.name = form, name
        self.pointwise, self.signed = "pointwise" in traits, bool(traits & {"pointwise", "view"})
        self.symbol = "s_" + name
        if any(isinstance(a, Size) for a in self.leaves) and not any(isinstance(d, str) for x in self.x for d in x.shape):
            self.x.append(X("n", dtype=torch.bool))  # by whose size the program is told n
        self.results = 1

    @property
    def returned(self):
        return min(self.results, 1) if self.row in FIRST_COMPARED else self.results

    def n_of(self, n):
        return {"static": 64, "one": 1, "empty": 0}.get(self.form, n)

    def tensors(self, n, kind):
        seed = int(hashlib.sha256(f"{self.op} {self.name} {n} {kind}".encode()).hexdigest()[:8], 16)
        g = torch.Generator().manual_seed(seed)
        # A weight that is no finite number meets the zeros of the padding in some of PyTorch's convolutions and not in others.
        plain = "conv" in self.row
        if any(kind in kinds.split() and re.match(rows, self.row) and (not dtypes or self.dtype in dtypes) for rows, kinds, *dtypes in ARBITRARY):
            kind = "normal"
        of = [data(x, self.dtype, n, "normal" if plain and k else kind, g) for k, x in enumerate(self.x)]
        if self.row in ROUNDS and kind == "normal" and self.dtype.is_floating_point:
            of = [1 + t / 64 if t.dtype == self.dtype else t for t in of]  # whose product is a number
        return of

    def given(self, tensors):
        """What the program is given for these tensors: the fixed form reads them through a view."""
        if self.form != "static":
            return tensors
        return [t.transpose(0, 1).contiguous() if t.dim() > 1 else torch.stack([t, t], 1) if t.dim() else t for t in tensors]

    def seen(self, given):
        if self.form != "static":
            return given
        return [t.transpose(0, 1) if len(x.shape) > 1 else t.select(1, 1) if len(x.shape) else t for x, t in zip(self.x, given)]

    # ---------------------------------------------------------------- as text

    def dims(self, x):
        return [d if not isinstance(d, str) else self.size_text(Size(d)) for d in x.shape]

    def parameters(self):
        out = []
        for k, x in enumerate(self.x):
            dims = self.dims(x)
            if self.form == "static":
                dims = [dims[1], dims[0], *dims[2:]] if len(dims) > 1 else [*dims, 2] if dims else dims
            out.append(f"%{self.name}_{k}: {WORDS[x.dtype or self.dtype]}[{', '.join(map(str, dims))}]")
        return out

    def tensor(self, k, x, before):
        if self.form != "static" or not x.shape:
            return f"%{self.name}_{k}"
        view = "transpose.int" if len(x.shape) > 1 else "select.int"
        before.append(f"  %{self.name}_{k}v = aten.{view}(%{self.name}_{k}, {'0, 1' if len(x.shape) > 1 else '1, 1'})")
        return f"%{self.name}_{k}v"

    def size_text(self, a):
        return a.text(self.symbol) if self.form == "dynamic" else str(a.at(self.n_of(0)))

    def lines(self):
        before, args = self.text(self.tensor, self.size_text, f"%{self.name}_m")
        results = ", ".join(f"%{self.name}_r{k}: {t}" for k, t in enumerate(self.types()))
        return before + [f"  {results}{' = ' if results else ''}aten.{self.row}({args})"]

    def wide(self, given, n, k):
        """Result k in float64; None where that is none."""
        if not self.dtype.is_floating_point:
            return None
        try:
            return self.eager(self.seen(given), n, torch.float64)[k]
        except (RuntimeError, IndexError, TypeError, ValueError):
            return None

    def types(self):
        """What an export would record: the types of the results, whose sizes are seen to be a*n + b; '?' where not."""
        seen = {self.n_of(n): want for (n, kind, _), (_, want) in self.sets.items() if not isinstance(want, Exception)}
        if not seen:
            return ["?"] * self.results
        if self.row in FIRST_COMPARED and self.form == "dynamic":
            seen = {n: w for n, w in seen.items() if n > 1}
        some = seen[max(seen)]
        return [f"{WORDS[t.dtype]}[{', '.join(dims)}]" if (dims := [self.dim_of([(n, w[k].shape[d]) for n, w in seen.items()]) for d in range(t.dim())]) == [d for d in dims if d] else "?"
                for k, t in enumerate(some)]

    def dim_of(self, seen):
        (n, size), *rest = sorted(seen, reverse=True)
        if all(s == size for _, s in rest):
            return str(size)
        a, b = divmod(size - rest[0][1], n - rest[0][0])
        return f"{a}*{self.symbol} + {size - a * n}" if not b and all(s == size + a * (m - n) for m, s in rest) else None

    def returns(self):
        return [f"%{self.name}_r{k}" for k in range(self.returned)]


def quick_compiler(level):
    """The C compiler with little effort: it has some ten thousand kernels to compile, of which each is run a dozen times."""
    path = SCRATCH / f"cc{level}"
    if not path.exists():
        path.write_text(f'#!/bin/sh\nexec {os.environ.get("CIERGE_CC", "cc")} "$@" -O{level}\n')
        path.chmod(0o755)
    return path


class Program:
    """The units as one program."""

    def __init__(self, units):
        self.units, self.at = units, {}
        lines = [f"sym {u.symbol} = 0.." for u in units if u.form == "dynamic"]
        lines.append(f"fn @main({', '.join(p for u in units for p in u.parameters())}) {{")
        for u in units:
            for text in u.lines():
                lines.append(text)
                self.at[len(lines)] = u
        lines += [f"  return {', '.join(r for u in units for r in u.returns())}", "}"]
        self.text = "\n".join(lines) + "\n"

    def left(self):
        """{unit: why} of what would stay in LibTorch."""
        path = SCRATCH / "rows.cir"
        path.write_text(self.text)
        r = cli("explain", path, "--json", "--no-cost-drop")
        if r.returncode:
            raise cierge.Error(r.stderr, 0, r.returncode)
        return {self.at[n["line"]]: n["reason"] for region in json.loads(r.stdout)["regions"] for n in region.get("left", [])}

    def compile(self):
        out = SCRATCH / "rows.cierge"
        cierge.compile_text(self.text, out, require_native=True, cc=quick_compiler(0 if all(u.signed for u in self.units) else 1))  # sums are as exact as they should be in vectors
        return cierge.load(out).context(threads=1)


def call(context, units, given):
    for i, t in enumerate(t for u in units for t in given[u]):
        context.set_input(i, t)
    context.call()
    out = iter(range(sum(u.returned for u in units)))
    return {u: [torch.from_dlpack(context.output(next(out))) for _ in range(u.returned)] for u in units}
