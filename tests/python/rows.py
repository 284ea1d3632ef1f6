"""Every native row of the operator table, in every dtype that PyTorch takes there, against eager PyTorch.

A row's calls (row_calls.py) become units: one call in one dtype, with a size that is symbolic; and, in turn, fixed (behind a view, so that
its elements lie strided), 1 or 0. The units of a row are one program, compiled with --require-native and called with sizes 0, 1, 7, 64 and
1,000, inputs contiguous and strided, numbers that are ordinary and numbers that are not. `python tests/python/rows.py KEY…` tries
some rows; slow_rows.py all of them, test_rows.py a slice of them."""
import argparse
import functools
import hashlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import traceback

import torch
from common import CIERGE, SCRATCH, cli
from row_calls import CALLS, FIRST_ONLY, RAISES, WORDS, Call, Size, X, made_from_schema, operator, size

import cierge
import judge

# ---------------------------------------------------------------- what is left out, and why

NO_VALUES = {"empty.memory_format", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}  # only dtype and shape are defined
FIRST_COMPARED = FIRST_ONLY | {"native_batch_norm", "_native_batch_norm_legit_no_training", "native_dropout", "native_group_norm"}
EITHER_ZERO = {"fmax", "fmin"}  # of 0 and -0: PyTorch's bfloat16 gives the second, its other dtypes the first
ROUNDS = {"prod", "prod.dim_int", "cumprod"}  # each of n factors rounds: n * eps of the product, whatever the order
SUMS_PRODUCTS = ("einsum", "tensordot", "upsample")  # as the anchors do: the largest numbers overflow or cancel by the order
# Data of which PyTorch's result depends on the order or the width in which it computes, and its process may end: doc/known-failures.md.
ARBITRARY = [
    (r"(native_)?(layer|group|batch|instance)_norm|rms_norm|_native_batch_norm", "huge"),
    (r"(var|std)[._]|(var|std)$", "huge", torch.float64, torch.float16, torch.bfloat16),  # Welford's means overflow later than sums
    (r"linalg_vector_norm|norm\.|_weight_norm", "huge", torch.float64, torch.float16, torch.bfloat16),
    (r"(gru|lstm|rnn_tanh|rnn_relu)_cell", "huge"),  # products overflow by the order in which they are summed
    (r"(var|std)_mean|native_layer_norm|native_group_norm", "inf"),  # the mean is NaN, but where the infinite number comes last
    (r"(_scaled_dot|scaled_dot)", "nan inf"),  # numbers behind the mask
    (r"mode", "nan"),  # sorted by a comparison that no NaN obeys
    (r"lcm", "special"),  # the process dies of the least integer
]
# Of no elements PyTorch gives other than the rest of it says, or its process dies: doc/known-failures.md.
NOT_EMPTY = {"pixel_unshuffle", "native_dropout", "native_layer_norm", "_scaled_dot_product_flash_attention_for_cpu"}
NOT_TRIED = {
    "_conj": "PyTorch has it for complex numbers alone, which are LibTorch's",
    "_native_batch_norm_legit": "writes to its running statistics: LibTorch's, whether it trains or not",
    "_reshape_alias": "takes raw strides: refused without the user's word (slow_safety.py)",
    **dict.fromkeys(("gru.input", "lstm.input", "rnn_relu.input", "rnn_tanh.input"), "native with constant weights alone (slow_recurrent.py)"),
}
# PyTorch's kernels are compiled with fused multiply-adds: where the product overflows and the sum does not, or a product of the least
# numbers vanishes, its result is this one's. Here a product rounds before it is added (contract: contraction is off).
UNFUSED = {
    "add": lambda x, y, *, alpha=1: torch.add(x, torch.mul(y, alpha)),
    "sub": lambda x, y, *, alpha=1: torch.sub(x, torch.mul(y, alpha)),
    "rsub": lambda x, y, alpha=1: torch.sub(y, torch.mul(x, alpha)),
    "addcmul": lambda x, y, z, *, value=1: torch.add(x, torch.mul(torch.mul(y, value), z)),
    "lerp": lambda x, y, w: torch.where(abs(torch.as_tensor(w)) < 0.5, torch.add(x, torch.mul(torch.sub(y, x), w)),
                                        torch.sub(y, torch.mul(torch.sub(y, x), torch.sub(torch.ones_like(torch.as_tensor(w)), torch.as_tensor(w))))),
}
UNFUSED["subtract"] = UNFUSED["sub"]
# Why a unit may stay in LibTorch although its row is native.
LEFT = r"no native \S+ kernel for|no native kernel for aten::|nextafter in half precision|isclose of other than floating numbers|a mean of integers|linspace of integers|linear interpolation of integers|" \
       r"no native convolution of this dtype|sums that PyTorch rounds one by one|bicubic interpolation of integers|dtype \S+$"


def native_rows():
    rows = {}
    for line in subprocess.run([CIERGE, "ops"], capture_output=True, text=True, check=True).stdout.splitlines():
        key, kind, *traits = line.split()
        if kind == "native" and key.startswith("aten::"):
            sums = key[6:].startswith(SUMS_PRODUCTS)
            rows[key[6:]] = set(traits) | ({"sums products"} if sums else set())
    return rows


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


# ---------------------------------------------------------------- judging

def call(context, units, given):
    for i, t in enumerate(t for u in units for t in given[u]):
        context.set_input(i, t)
    context.call()
    out = iter(range(sum(u.returned for u in units)))
    return {u: [torch.from_dlpack(context.output(next(out))) for _ in range(u.returned)] for u in units}


def close(got, want):
    """Element by element, by assert_close's tolerances."""
    if not want.dtype.is_floating_point:
        return got == want
    rtol, atol = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5), torch.float16: (1e-3, 1e-5), torch.bfloat16: (1.6e-2, 1e-5)}[want.dtype]
    return torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)


def same_zeros(u, got, want, wide=None):
    """Where both are 0 (and the result in float64 is, too), they have the same sign. Sums may give either."""
    if not u.signed or u.row in EITHER_ZERO or not want.dtype.is_floating_point:
        return torch.ones(got.shape, dtype=torch.bool)
    exact = (wide == 0) if wide is not None and wide.shape == want.shape else torch.ones(got.shape, dtype=torch.bool)
    return (got != 0) | (want != 0) | ~exact | (torch.signbit(got) == torch.signbit(want))


def agree(u, got, want):
    return close(got, want) & same_zeros(u, got, want)


def other_ways(u, given, n):
    """PyTorch's result by its other code paths: of strided and of single elements, if they differ from that of contiguous ones."""
    seen = u.seen(given)
    if (unfused := UNFUSED.get(u.row.split(".")[0])):
        yield u.eager(seen, n, op=unfused)
        if u.dtype in (torch.float16, torch.bfloat16):  # some of PyTorch's paths round in between, others not
            yield [r.to(u.dtype) for r in u.eager([t.float() if t.dtype == u.dtype else t for t in seen], n, op=unfused)]
    yield u.eager([t.contiguous() for t in seen], n)
    try:
        yield u.eager(strided(seen), n)
    except RAISES:
        pass  # an operator that takes contiguous ones alone
    if u.pointwise and all(t.dim() == 1 for t in seen):
        parts = [u.eager([t[k:k + 1] for t in seen], 1) for k in range(len(seen[0]))]
        yield [torch.cat(p) for p in zip(*parts)]


def difference(u, got, given, n, want):
    """None, or what differs."""
    for k, (g, w) in enumerate(zip(got, want)):
        if g.dtype != w.dtype or g.shape != w.shape:
            return f"result {k}: {g.dtype}{list(g.shape)}, PyTorch gives {w.dtype}{list(w.shape)}"
        if u.row in NO_VALUES or torch.equal(g, w) and not u.signed:
            continue
        ways = [w, *(other[k] for other in other_ways(u, given, n))] if not agree(u, g, w).all() else [w]
        good = functools.reduce(torch.logical_or, (agree(u, g, o) for o in ways))
        if good.all() or judge.difference(g, w, u.wide(given, n, k)) is None and same_zeros(u, g, w, u.wide(given, n, k)).all():
            continue
        if u.row in ROUNDS and (x := u.wide(given, n, k)) is not None and (good | ((g - x).abs() <= 1000 * torch.finfo(g.dtype).eps * x.abs())).all():
            continue
        bad = (~good).nonzero()
        shown = []
        for i in bad[:4]:
            i = tuple(i.tolist())
            of = [t[i].item() for t in u.seen(given) if t.shape == w.shape]
            shown.append(f"{of} -> {g[i].item()!r}, not {w[i].item()!r}")
        return f"result {k}: {len(bad)} of {w.numel()} differ: {'; '.join(shown)}"
    return None


def datasets(traits):
    """(n, kind, whether the inputs are strided)"""
    if "pointwise" in traits:
        return [(64, "normal", False), (64, "special", False), (0, "normal", False), (1, "normal", False), (7, "special", False), (1000, "normal", False),
                (1000, "special", False), (1000, "special", True)]
    huge = () if "anchor" in traits or "sums products" in traits else ("huge",)  # they overflow or cancel by the order in which products are summed
    return [(64, "normal", False), *[(64, kind, False) for kind in ("nan", "inf", "small", *huge)], (0, "normal", False), (1, "normal", False), (7, "normal", True), (1000, "normal", False)]


def strided(tensors):
    return [torch.stack([t, t], -1)[..., 0] if t.dim() else t for t in tensors]


def first_line(e):
    return (str(e).splitlines() or ["(no text)"])[0]


class Row:
    """What became of a row: failures, and the units that were compared or left out."""

    def __init__(self, name, traits, dtypes):
        self.name, self.traits, self.failures, self.left, self.compared, self.raised = name, traits, [], {}, 0, 0
        calls = CALLS.get(name) or made_from_schema(operator(name)._schema, traits & {"reduction", "view"} or not traits & {"pointwise"})
        if calls is None:
            self.failures.append("there are no calls of it in row_calls.py")
            return
        self.units = []
        for k, c in enumerate(calls):
            for i, t in enumerate(dtypes):
                for form in ("dynamic", ("static", "one", "empty")[(i + len(name)) % 3]):
                    u = self.unit(c, t, form, f"c{k}_{WORDS[t]}_{form[0]}")
                    if not u and form == "dynamic":
                        break  # PyTorch has no such kernel
                    self.units += u

    def unit(self, c, dtype, form, name):
        u = Unit(self.name, self.traits, c, dtype, form, name)
        if form != "dynamic" and (name[:2] != "c0" or not any(isinstance(d, str) for x in u.x for d in x.shape)):
            return []
        u.sets = {}
        for n, kind, apart in datasets(self.traits):
            if form != "dynamic" and n != 64 or form == "empty" and kind != "normal" or u.n_of(n) == 0 and self.name in NOT_EMPTY:
                continue
            given = u.given(u.tensors(u.n_of(n), kind))
            given = strided(given) if apart else given
            try:
                want = u.eager(u.seen(given), u.n_of(n))
            except RAISES as e:
                want = e
                if apart and isinstance(u.sets.get((64, "normal", False), (0, e))[1], list):
                    continue  # an operator that takes contiguous tensors alone
                if (n, kind) == (64, "normal") and form == "dynamic":
                    return []
            first = u.sets.setdefault((n, kind, apart), (given, want))[1] if not u.sets else next(iter(u.sets.values()))[1]
            if isinstance(want, Exception) or isinstance(first, Exception) or [t.dim() for t in want] == [t.dim() for t in first]:  # a program's ranks are fixed
                u.sets[n, kind, apart] = given, want
        if not u.sets or isinstance(u.sets[64, "normal", False][1], Exception) and form == "static":
            return []
        u.results = len(u.sets[64, "normal", False][1]) if not isinstance(u.sets[64, "normal", False][1], Exception) else 1
        return [u]

    def fail(self, u, text):
        self.failures.append(f"{u.name}: {text}")

    def run(self):
        if self.failures:
            return
        for u in [u for u in self.units if isinstance(u.sets[64, "normal", False][1], Exception)]:
            self.units.remove(u)
            self.raised += 1
            try:
                given = u.sets[64, "normal", False][0]
                got = call(Program([u]).compile(), [u], {u: given})
                if any(t.numel() for t in got[u]):
                    self.fail(u, f"PyTorch raises {u.sets[64, 'normal', False][1]}")
            except cierge.Error as e:
                if e.exit_code != 3 and "would stay in LibTorch" not in str(e):
                    self.fail(u, f"PyTorch raises; here: {e}")
        at = 0
        while at < len(self.units):
            self.program(self.units[at:at + 60])
            at += 60

    def program(self, units):
        try:
            context = Program(units).compile()
        except cierge.Error as e:
            native = self.that_are_native(units)
            if len(native) == len(units):  # another error
                if len(units) == 1:
                    return self.fail(units[0], f"refused: {first_line(e)}")
                self.program(units[:len(units) // 2])
                return self.program(units[len(units) // 2:])
            return self.program(native) if native else None
        for n, kind, apart in datasets(self.traits):
            key, usual = (n, kind, apart), (64, "normal", False)
            of = {}
            for u in units:
                of[u] = key if key in u.sets and not isinstance(u.sets[key][1], Exception) else usual
            try:
                got = call(context, units, {u: u.sets[of[u]][0] for u in units})
            except cierge.Error as e:
                self.alone(context, units, of, e)
                continue
            for u in units:
                if of[u] == key:
                    given, want = u.sets[key]
                    self.compared += 1
                    if (d := difference(u, got[u], given, u.n_of(n), want)):
                        self.fail(u, f"n={n} {kind}{' strided' * apart}: {d}")
            for u in units:
                if key in u.sets and isinstance(u.sets[key][1], Exception):
                    self.raised += 1
                    try:
                        got = call(context, units, {v: v.sets[key if v is u else usual][0] for v in units})
                        if u.returned and any(t.numel() for t in got[u]):
                            self.fail(u, f"n={n} {kind}: PyTorch raises {str(u.sets[key][1])[:150]}")
                    except cierge.Error as e:
                        if e.exit_code != 3:
                            self.fail(u, f"n={n} {kind}: PyTorch raises; here: {e}")

    def alone(self, context, units, of, e):
        """The units whose data make the call fail."""
        usual = (64, "normal", False)
        for u in units:
            if of[u] != usual:
                try:
                    call(context, units, {v: v.sets[of[v] if v is u else usual][0] for v in units})
                except cierge.Error as e:
                    self.fail(u, f"{of[u]}: {e}")
                    of[u] = usual

    def that_are_native(self, units):
        while units:
            program = Program(units)
            try:
                left = program.left()
            except cierge.Error as e:
                line = re.search(r"rows\.cir:(\d+):", str(e))
                refused = program.at[int(line[1])] if line else units[0]
                self.fail(refused, f"refused: {first_line(e)}")
                units = [u for u in units if u is not refused]
                continue
            for u, why in left.items():
                self.left.setdefault(why, []).append(u.name)
            return [u for u in units if u not in left]
        return []


def try_rows(names, dtypes):
    rows = native_rows()
    for name in names:
        print(json.dumps({"start": name}), flush=True)
        start = time.time()
        row = Row(name, rows[name], dtypes)
        try:
            row.run()
        except Exception:
            row.failures.append(traceback.format_exc())
        print(json.dumps({"row": name, "failures": row.failures, "left": row.left, "compared": row.compared, "raised": row.raised, "s": round(time.time() - start, 2)}), flush=True)


def in_children(names, dtypes, jobs=2):
    """One record a row; a child that dies costs one row."""
    names = [name for name in names if name not in NOT_TRIED]
    todo, done = queue.Queue(), []
    for k in range(0, len(names), 25):
        todo.put(names[k:k + 25])

    def loop():
        while True:
            try:
                part = todo.get_nowait()
            except queue.Empty:
                return
            while part:
                env = dict(os.environ, OMP_NUM_THREADS="1")
                child = subprocess.Popen([sys.executable, __file__, "--child", "--dtypes", ",".join(dtypes), *part], stdout=subprocess.PIPE, text=True, env=env)
                at = None
                for line in child.stdout:
                    if not line.startswith("{"):
                        continue
                    record = json.loads(line)
                    if "start" in record:
                        at = record["start"]
                    else:
                        done.append(record)
                        part.remove(record["row"])
                if child.wait():
                    done.append({"row": at, "failures": [f"the process ended with {child.returncode}"], "left": {}, "compared": 0, "raised": 0, "s": 0})
                    part.remove(at)

    threads = [threading.Thread(target=loop) for _ in range(jobs)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sorted(done, key=lambda r: r["row"])


def without_calls(names):
    return [name for name in names if name not in NOT_TRIED and name not in CALLS and made_from_schema(operator(name)._schema, True) is None]


def report(done, missing):
    """Prints what failed; the exit code."""
    failures = {r["row"]: list(r["failures"]) for r in done}
    for r in done:
        failures[r["row"]] += [f"stays in LibTorch: {why} ({', '.join(units)})" for why, units in r["left"].items() if not re.match(LEFT, why)]
        if not r["compared"] and not r["failures"]:
            failures[r["row"]].append(f"nothing of it is native: {r['left'] or 'PyTorch takes none of its calls'}")
    failures.update((name, ["it has no calls in row_calls.py, nor a reason in NOT_TRIED"]) for name in missing)
    for name, texts in failures.items():
        for text in texts:
            print(f"FAILED {name}: {text}")
    print(f"{sum(r['compared'] for r in done)} compared, {sum(r['raised'] for r in done)} raise as in PyTorch, {sum(len(v) for r in done for v in r['left'].values())} "
          f"left to LibTorch; {len(NOT_TRIED)} rows not tried")
    bad = sum(bool(texts) for texts in failures.values())
    print(f"{len(failures) - bad} passed, {bad} failed")
    return bool(bad)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--dtypes", default=",".join(WORDS.values()))
    p.add_argument("keys", nargs="*")
    a = p.parse_args()
    torch.set_num_threads(1)
    dtypes = [t for t, w in WORDS.items() if w in a.dtypes.split(",")]
    if a.child:
        return try_rows(a.keys, dtypes)
    return report(in_children(a.keys or sorted(native_rows()), a.dtypes.split(",")), [])


if __name__ == "__main__":
    sys.exit(main())
