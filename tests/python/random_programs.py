"""Programs drawn from a seed, for random_graphs.py: a Python module, its inputs, and what is known of each of its values.

Lines are drawn from the tables below and tried on example tensors as they are drawn, so that what is left runs. Each runs in a
submodule of its own, s.K.

Rounding is no failure. A value is exact if every step to it is defined to the last bit; only such values decide
something (comparisons, sorting, indices), and the number of rounding steps behind a value is bounded by its dtype."""
import collections
import random
import re

import torch

HEADER = """import torch
from torch import nn
from torch.nn import functional as F
aten = torch.ops.aten


class Step(nn.Module):
    def forward(self, f):
        return f()


def fill(dtype, *shape, k=0):
    n = 1
    for d in shape:
        n *= d
    x = (torch.arange(n, dtype=torch.float64) * 37 + k * 11 + 5) % 23 - 9
    if dtype == torch.bool:
        return (x > 1).reshape(shape)
    return (x if not dtype.is_floating_point else x / 4).abs_().to(dtype).reshape(shape) if dtype == torch.uint8 else (
        x / 4 if dtype.is_floating_point else x).to(dtype).reshape(shape)


def cond(p, yes, no, operands):
    return torch.cond(p, yes, no, operands) if torch.compiler.is_exporting() else (yes if p else no)(*operands)
"""

# ---------------------------------------------------------------- what lines are made of
#
# {any} tensor, {f} floating, {e} exact, {ef} exact floating, {em} exact, no bool, {i} int64 or int32, {b} bool, {x} number, {xf} float,
# {n} int, {p} positive int, {d} dimension of the first operand. First letter: = as exact as its operands, ~ it rounds, ! the
# operands are written to. A second u: also for sizes that only the run knows.

ELEMENTWISE = """
=u torch.neg({em})
=u torch.abs({em})
=u torch.relu({em})
=u {any} * {x}
=u {em} + {x}
=u {x} - {em}
= torch.add({em}, {em}, alpha=2)
= torch.add({any}, {any})
= {em} - {em}
= {any} * {any}
= torch.maximum({any}, {any})
= torch.minimum({em}, {any})
=u torch.clamp({em}, {x})
=u torch.clamp({em}, -2, max=3)
= torch.clamp({em}, min={em})
= torch.where({b}, {any}, {any})
= torch.where({b}, {em}, {x})
=u {em} > {x}
= {e} == {e}
= torch.lt({e}, {e})
= torch.ne({e}, {x})
= torch.logical_and({e}, {e})
=u torch.logical_not({e})
= {b} | {b}
= {i} & 6
= {i} ^ {i}
=u {i} << 1
= {i} // {p}
= {i} % {p}
=u torch.div({em}, {p}, rounding_mode='floor')
= torch.div({em}, {em}.abs() + 1, rounding_mode='trunc')
= torch.remainder({em}, {p})
= torch.fmod({em}, {p})
=u torch.floor({ef})
=u torch.round({ef})
=u torch.sign({em})
= torch.heaviside({ef}, {ef})
=u torch.isfinite({e})
=u torch.square({em})
= torch.lerp({ef}, {ef}, 0.5)
= torch.addcmul({ef}, {ef}, {ef}, value=0.5)
=u F.hardtanh({f}, -1.5, 1.5)
=u F.leaky_relu({f}, 0.25)
=u F.threshold({ef}, 0.5, {xf})
=u {any}.to(torch.float32)
=u {any}.to(torch.float64)
= {e}.to(torch.float16)
= {e}.to(torch.bfloat16)
=u {e}.to(torch.int64)
=u {e}.to(torch.int32)
= {e}.to(torch.int16)
=u {e}.bool()
= {f}.type_as({f})
= torch.full_like({any}, {x})
= torch.zeros_like({any}, dtype=torch.int64)
= torch.ones_like({any})
= {any}.new_full(({p}, 2), {x})
~u torch.exp(-{f}.abs())
~u torch.tanh({f})
~u torch.sigmoid({f})
~u torch.sin({f})
~u torch.log1p({f}.abs())
~u torch.sqrt({f}.abs() + 1)
~u torch.rsqrt({f}.abs() + 1)
~ {f} / ({f}.abs() + 0.5)
~ {em} / {p}
~u F.gelu({f})
~u F.gelu({f}, approximate='tanh')
~u F.silu({f})
~u F.softplus({f})
~u F.elu({f}, alpha={p})
~ torch.atan2({f}, {f}.abs() + 1)
~ torch.hypot({f}, {f})
~u torch.pow({f}.abs() + 1, {p})
~ F.mse_loss({f}, {f}, reduction='none')
~ F.smooth_l1_loss({f}, {f}, reduction='mean')
"""

REDUCE = """
=u {em}.sum()
= {i}.sum({d})
= {b}.sum({d}, keepdim=True)
= {i}.prod({d})
=u torch.amax({em}, {d})
= {em}.amin(({d},), True)
=u {e}.any()
= {e}.all({d})
= torch.count_nonzero({e}, {d})
= {i}.cumsum({d})
= {b}.cumsum({d})
= torch.argmax({em}, {d})
= {em}.argmin({d}, keepdim=True)
~ {f}.sum({d})
~u {f}.mean()
~ {f}.mean({d}, keepdim=True)
~ {ef}.var({d}, correction=0)
~ {ef}.std({d}, keepdim=True)
~ F.softmax({f}, {d})
~ F.log_softmax({f}, {d})
~ torch.logsumexp({f}, {d})
~ {f}.norm(2, {d})
~ {f}.norm(1)
~ {f}.cumsum({d})
~ torch.linalg.vector_norm({f}, ord=2)
~ F.layer_norm({ef}, ({ef}.shape[-1],))
~ F.normalize({f}, dim={d})
"""

TUPLES = """
= torch.topk({em}, 1, {d})
= torch.topk({em}, 2, {d}, largest=False)
= torch.max({em}, {d})
= {em}.min({d}, keepdim=True)
= torch.sort({em}, {d}, stable=True)
= torch.sort({em}, dim={d}, stable=True, descending=True)
= torch.kthvalue({em}, 1, {d})
= torch.median({em}, {d})
= {em}.cummax({d})
= torch.split({any}, 2, {d})
= torch.chunk({any}, 2, {d})
= {any}.unbind({d})
= torch.tensor_split({any}, 2, {d})
= torch.meshgrid({any}.reshape(-1), {any}.reshape(-1), indexing='ij')
= torch.broadcast_tensors({any}, {any})
= torch.frexp({ef})
= torch.aminmax({em})
= torch.histc({ef}.float(), 4, -2, 2), {em}
~ torch.var_mean({ef}, {d})
~ torch.std_mean({ef}, {d}, correction=0)
~ torch.linalg.svd({ef}.float().reshape(-1, 2), full_matrices=False)
~ torch.linalg.qr({ef}.double().reshape(2, -1))
~ torch.slogdet(torch.eye(3) * 4 + {ef}.sum().float())
~ aten.native_layer_norm({ef}, ({ef}.shape[-1],), None, None, 1e-5)
~ (lambda x: aten.native_layer_norm_backward(x * 0.5, x, (x.shape[-1],), x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1, None, None, [True, False, False]))({ef})
~ aten.convolution_backward({ef}.float().reshape(1, 1, -1), {ef}.float().reshape(1, 1, -1), torch.ones(1, 1, 1), [1], [1], [0], [1], False, [0], 1, [True, False, True])
"""

VIEWS = """
=u {any}.reshape(-1)
= {any}.t()
= {any}.transpose({d}, {d})
= {any}.unsqueeze({d})
= {any}.squeeze({d})
= {any}.flatten()
= {any}.select({d}, 0)
= {any}.narrow({d}, 0, 1)
=u {any}[1:]
= {any}[..., ::2]
= {any}[:, None]
= {any}[-1]
= {any}.expand(2, *{any}.shape)
= {any}.expand_as({any})
= {any}.view({any}.shape[0], -1)
= {any}.permute(*range({any}.dim() - 1, -1, -1))
= {any}.diagonal()
= {any}.unfold({d}, 2, 1)
= torch.movedim({any}, 0, {d})
= {any}.detach()
= {any}.contiguous()
= {ef}.view(torch.int32)
= {any}.view_as({any})
= {any}.as_strided((2, 2), (1, 1))
= {any}.real
"""

MOVE = """
= torch.cat([{any}, {any}], {d})
= torch.cat(({any}.reshape(-1), {any}.reshape(-1), {any}.reshape(-1)))
= torch.stack([{any}, {any}], {d})
= torch.roll({any}, 1, {d})
= torch.flip({any}, ({d},))
= {any}.repeat(2, 1)
= {any}.repeat_interleave(2, {d})
= {any}.clone()
= F.pad({em}, (1, 2), value={xf})
= F.pad({ef}, (1, 0), mode='reflect')
= F.pad({ef}.reshape(1, 1, -1), (1, 1), mode='replicate')
= torch.tril({em})
= torch.triu({em}, 1)
= torch.tile({any}, (2,))
= torch.arange({n}, dtype=torch.float32)
= torch.arange(0, {p}) * 2
= torch.full(({p}, 2), {x})
= torch.scalar_tensor({x})
= torch.tensor([1.5, -2.0]) * {x}
= torch.ones({any}.shape[0], {p})
= torch.linspace(0, 1, 5) * {xf}
= F.one_hot({i}.long() % 3 + 0, 3)
= {any}.index_select({d}, torch.zeros(2, dtype=torch.int64))
= {any}[torch.arange(2) % {any}.shape[0]]
= torch.take_along_dim({any}, torch.zeros_like({any}, dtype=torch.int64), {d})
= {any}.gather({d}, torch.zeros_like({any}, dtype=torch.int64))
= {any}.masked_fill({b}, 1)
= {em}.scatter({d}, torch.zeros_like({em}, dtype=torch.int64), 2)
= {em}.scatter_reduce({d}, torch.zeros_like({em}, dtype=torch.int64), {em}, reduce='amax')
= {em}.scatter_add({d}, torch.zeros_like({em}, dtype=torch.int64), {em})
= {any}.index_fill({d}, torch.zeros(1, dtype=torch.int64), 1)
= torch.searchsorted(torch.arange(-4., 5.), {ef}.float(), side='right')
= torch.bucketize({ef}.float(), torch.arange(3.), out_int32=True)
= torch.embedding(fill(torch.float32, 3, 2), {i}.long() % 3)
= {any}.index_put((torch.zeros(1, dtype=torch.int64),), torch.zeros((), dtype={any}.dtype))
= {em}.slice_scatter(torch.zeros_like({em})[:1], 0, 0, 1)
= torch.cartesian_prod({any}.reshape(-1), torch.arange(2).to({any}.dtype))
= F.max_pool1d({ef}.reshape(1, 1, -1), 2)
= F.interpolate({ef}.float().reshape(1, 1, -1), scale_factor=2.0, mode='nearest')
~ F.interpolate({ef}.float().reshape(1, 1, -1), size=7, mode='linear', align_corners=True)
~ F.avg_pool1d({ef}.reshape(1, 1, -1), 2)
~ {f} @ {f}.t()
~ torch.matmul({f}, {f})
~ F.linear({f}, {f}, None)
~ torch.bmm({f}.reshape(2, -1, 2), {f}.reshape(2, 2, -1))
~ torch.addmm({f}, {f}, {f}, beta=0.5, alpha=2)
~ torch.einsum('ij,ij->i', {f}, {f})
~ torch.outer({f}.reshape(-1), {f}.reshape(-1))
~ torch.cdist({ef}, {ef})
~ torch.linalg.inv(torch.eye(2) * 40 + {ef}.float()[:2, :2])
~ F.scaled_dot_product_attention({f}[None], {f}[None], {f}[None])
~ F.embedding_bag({i}.long().reshape(-1, 1).abs() % 3, fill(torch.float32, 3, 4), mode='mean')
~ F.cross_entropy({ef}.float().reshape(-1, 2), torch.ones_like({ef}.reshape(-1, 2)[:, 0], dtype=torch.int64))
~ self.linear({f}.float().reshape(-1)[:2])
~ self.linear({f}.float().reshape(-1, 2))
~ self.norm({ef}.float().reshape(-1, 2))
~ self.conv({ef}.float().reshape(1, 1, -1))
~ self.bn({ef}.float().reshape(-1, 2))
~ self.gru({ef}.float().reshape(1, -1, 2))[0]
"""

IN_PLACE = """
! {any}.add_({any})
! {any}.mul_({any})
! {any}.add_({x})
! {em}.neg_()
! {em}.relu_()
! {any}.copy_({any})
! {any}.zero_()
! {em}.fill_({x})
! {em}.clamp_(-3, 3)
! {em}[0].mul_(2)
! {em}[..., -1].sub_(1)
! {em}.t().add_(1)
! {em}.select({d}, 0).fill_({x})
! {any}.masked_fill_({b}, 1)
! {em}.index_fill_({d}, torch.zeros(1, dtype=torch.int64), 2)
! {em}.index_put_((torch.zeros(1, dtype=torch.int64),), torch.ones((), dtype={em}.dtype))
! {em}.index_add_({d}, torch.zeros(1, dtype=torch.int64), torch.ones_like({em}).narrow({d}, 0, 1))
! {em}.scatter_({d}, torch.zeros_like({em}, dtype=torch.int64), {x})
! {em}.squeeze_({d})
! {em}.unsqueeze_({d})
! {em}.t_()
! {any}.transpose_({d}, {d})
! {b}.logical_not_()
! {ef}.round_()
! {em}.sign_()
! {f}.tanh_()
! {f}.sigmoid_()
! {i}.bitwise_xor_({i})
! {em}.lt_({x})
"""

FOUND = """
= torch.nonzero({e})
= torch.masked_select({em}, {b})
= {any}[{b}]
= torch.unique({em})
= torch.unique({i}, return_inverse=True, return_counts=True)
= torch.nonzero({e}, as_tuple=True)
= torch.unique_consecutive({em})
"""

NUMBERS = """
{any}.shape[{d}]
{any}.numel()
{any}.dim()
{any}.shape[0] * 2 + 1
{any}.shape[0] // 2
max({any}.shape[0], 3)
small({em}.sum().to(torch.int64).remainder(5).item())
{i}.max().item()
{ef}.sum().item()
{ef}.reshape(-1)[0].item()
{e}.any().item()
bool(True)
float({any}.shape[0])
{n} + 1
{n} % 3
{x} * 2
"""

CONDS = """
cond({e}.sum() > {p}, lambda a, b: a + b, lambda a, b: a * b - 1, ({ef}, {ef}))
cond({b}.any(), lambda a: (a.relu(), a.sum()), lambda a: (a * 2, a.amax()), ({ef},))
cond({em}.amax() > 2, lambda a, b: torch.where(a > b, a, b), lambda a, b: (a - b).abs(), ({em}, {em}))
cond({n} > 4, lambda a: a + 1, lambda a: a.neg(), ({em},))
"""

TABLES = {"elementwise": (ELEMENTWISE, 30), "reduce": (REDUCE, 9), "tuples": (TUPLES, 8), "views": (VIEWS, 15), "move": (MOVE, 16),
          "in_place": (IN_PLACE, 12), "found": (FOUND, 3), "numbers": (NUMBERS, 8), "cond": (CONDS, 2)}
LINES = {name: [line for line in text.splitlines() if line.strip()] for name, (text, _) in TABLES.items()}
DTYPES = [torch.float32] * 5 + [torch.float64, torch.int64, torch.int64, torch.bool, torch.bfloat16, torch.float16, torch.int32, torch.uint8]
DEPTH = {torch.float32: 3, torch.float64: 6, torch.bfloat16: 1, torch.float16: 1}
LARGEST = {torch.bfloat16: 60, torch.float16: 60}


class Value:
    """A name of the program: an example of it, how many rounding steps lie behind it, whether its sizes are known before the run."""

    def __init__(self, name, example, depth=0, loose=False):
        self.name, self.example, self.depth, self.loose = name, example, depth, loose


def small(n):
    torch._check(n >= 0)
    torch._check(n <= 4)
    return n


class Graph:
    def __init__(self, seed, steps=None):
        self.r, self.seed = random.Random(seed), seed
        self.values, self.lines, self.used, self.names = [], [], collections.Counter(), 0
        self.n_steps = 0
        self.env = {}
        exec(HEADER + "\n", self.env)
        self.env["small"] = small
        self.inputs, self.buffers = [], []
        self.make_inputs()
        self.make_modules()
        for _ in range(steps or self.r.choice((4, 6, 9, 14, 22))):
            self.add_line()
        self.finish()

    def shape(self):
        r = self.r
        a, b = self.sizes
        return r.choice([(a, b)] * 6 + [(b,)] * 2 + [(a, 1), (), (2, a, b), (1, b), (a,), (b, b)] + [(0, b), (0,)] * (r.random() < 0.15))

    def make_inputs(self):
        r = self.r
        self.sizes = r.choice((4, 5, 6, 3)), r.choice((2, 3, 4, 8, 1))
        self.dynamic = r.random() < 0.4
        for k in range(r.randint(1, 4)):
            t, s = r.choice(DTYPES), self.shape()
            self.inputs.append((f"x{k}", t, s))
        for k in range(r.choice((0, 0, 1, 2))):
            self.buffers.append((f"b{k}", r.choice(DTYPES), self.shape()))

    def make_modules(self):
        self.modules = {"linear": "nn.Linear(2, 3)", "norm": "nn.LayerNorm(2)", "conv": "nn.Conv1d(1, 2, 3, padding=1)", "bn": "nn.BatchNorm1d(2)",
                        "gru": "nn.GRU(2, 3, batch_first=True)"}
        torch.manual_seed(0)

        class Self:
            pass
        me = Self()
        for name, text in self.modules.items():
            setattr(me, name, eval(text, self.env).eval())
        for k, (name, t, s) in enumerate(self.buffers):
            setattr(me, name, self.env["fill"](t, *s, k=k))
            self.values.append(Value(f"self.{name}", getattr(me, name)))
        for (name, t, s), x in zip(self.inputs, self.make(0)):
            self.env[name] = x
            self.values.append(Value(name, x))
        self.env["self"] = me
        self.outside = [v.example for v in self.values]

    def make(self, k, sizes=None):
        """The inputs of call k; sizes: where the first of the graph's sizes is another."""
        out = []
        for i, (_, t, s) in enumerate(self.inputs):
            s = tuple(sizes if sizes and self.may_vary(s, d) else n for d, n in enumerate(s))
            out.append(self.env["fill"](t, *s, k=3 * k + i))
        return tuple(out)

    def may_vary(self, shape, d):
        return self.dynamic and (d == 0 and len(shape) > 0 and shape[0] == self.sizes[0] or len(shape) == 3 and d == 1) and shape != (self.sizes[1],) * 2

    # ------------------------------------------------------------ operands

    def fits(self, v, kind, loose):
        t = v.example
        if not isinstance(t, torch.Tensor) or (v.loose and not loose):
            return False
        if kind[0] == "e" and v.depth:
            return False
        if kind == "any" or kind == "e":
            ok = True
        elif kind == "em":
            ok = t.dtype != torch.bool
        elif kind in ("f", "ef"):
            ok = t.dtype.is_floating_point
        elif kind == "i":
            ok = t.dtype in (torch.int64, torch.int32) and not v.depth
        else:
            ok = t.dtype == torch.bool
        return ok and (not v.depth or v.depth < DEPTH[t.dtype] or kind == "any")

    def number(self, kind):
        r = self.r
        known = [v for v in self.values if not isinstance(v.example, torch.Tensor) and not v.depth and v.example is not None]
        fit = [v for v in known if kind == "x" or (kind in "np" and type(v.example) is int and (kind == "n" or 0 < v.example < 20)) or
               (kind == "xf" and type(v.example) is float)]
        if fit and r.random() < 0.6:
            v = r.choice(fit)
            self.taken.append(v)
            return v.name
        return str({"x": lambda: r.choice((2, -1, 0, 3, 0.5, -1.5, True, 1.25)), "xf": lambda: r.choice((0.5, -1.5, 2.0)), "n": lambda: r.randint(0, 6),
                    "p": lambda: r.choice((1, 2, 3, 4))}[kind]())

    def operand(self, kind, loose):
        r = self.r
        if kind in ("x", "xf", "n", "p"):
            return self.number(kind)
        if kind == "d":
            rank = self.first.example.dim() if self.first is not None else 1
            return str(r.randint(-rank, rank - 1)) if rank else r.choice(("0", "-1"))
        fit = [v for v in self.values if self.fits(v, kind, loose)]
        if not fit:
            raise LookupError(kind)
        if self.first is not None and kind == self.first_kind and r.random() < 0.15:
            v = self.first
        else:
            v = fit[min(len(fit) - 1, int(len(fit) * r.random() ** 0.6))]  # rather late ones
        if self.first is None:
            self.first, self.first_kind = v, kind
        self.taken.append(v)
        return v.name

    def fill_in(self, template, loose=False):
        """The template with operands in it; the same placeholder twice in one expression may be two values."""
        self.first, self.taken = None, []
        return re.sub(r"\{(\w+)\}", lambda m: self.operand(m[1], loose), template)

    # ------------------------------------------------------------ lines

    def add_line(self):
        for _ in range(60):
            kind = self.r.choices(list(TABLES), [w for _, w in TABLES.values()])[0]
            template = self.r.choice(LINES[kind])
            try:
                if self.try_line(kind, template):
                    self.used[kind] += 1
                    return
            except LookupError:
                continue

    def try_line(self, kind, template):
        if kind == "numbers":
            expr = self.fill_in(template)
            rounds, loose = False, False
        elif kind == "cond":
            expr = self.fill_in(template)
            rounds, loose = any(isinstance(v.example, torch.Tensor) and v.example.is_floating_point() for v in self.taken) and ".sum()" in template, False
        else:
            flags, expr = template.split(" ", 1)
            expr = self.fill_in(expr, flags.endswith("u"))
            rounds, loose = flags[0] == "~" or (flags[0] == "!" and ("tanh_" in expr or "sigmoid_" in expr)), kind == "found"
        if rounds is False and (".sum()" in expr or "norm(" in expr) and any(isinstance(v.example, torch.Tensor) and v.example.is_floating_point() for v in self.taken):
            rounds = False  # sums of multiples of 1/4 that are small are exact
        loose = loose or any(v.loose for v in self.taken)
        depth = max([v.depth for v in self.taken if isinstance(v.example, torch.Tensor)], default=0)
        if "norm" in expr and self.taken[0].example.shape[-1:] == (1,):
            return False  # a number less itself: PyTorch's result is its rounding error
        write = kind == "in_place"
        if write:
            target = self.taken[0]
            if (depth or rounds) and not target.depth:
                return False
            if rounds and target.depth + 1 > DEPTH.get(target.example.dtype, 0):
                return False
            if re.search(r"squeeze_|\bt_\(|transpose_", expr) and any(target.example is x for x in self.outside):
                return False  # its caller gets another shape then, of which not all can be exported: test_reshape.py
        try:
            got = eval(expr, self.env)
        except Exception:
            return False
        if rounds:
            depth += 1
        flat = list(got) if isinstance(got, (tuple, list)) else [got]
        for x in flat:
            if isinstance(x, torch.Tensor):
                if x.layout != torch.strided or x.is_complex() or x.numel() > 3000 or x.dtype in (torch.uint16, torch.uint32, torch.uint64):
                    return False
                limit = LARGEST.get(x.dtype, 300) if x.dtype.is_floating_point else 1e9
                if not write and x.dtype.is_floating_point and x.numel() and not x.abs().max() < limit:
                    return False
                if depth and not write and x.dtype.is_floating_point and depth > DEPTH[x.dtype]:
                    return False
            elif isinstance(x, (int, float)) and abs(x) > 1e6:
                return False
        if len(flat) > 8:
            return False
        at = f"s[{self.n_steps}]"
        self.n_steps += 1
        names = []
        for x in flat:
            names.append("_" if x is None else f"v{self.names}")
            if x is not None:
                self.names += 1
                self.env[names[-1]] = x
                self.values.append(Value(names[-1], x, depth if isinstance(x, torch.Tensor) and x.is_floating_point() or depth else 0, loose))
        if not names:
            return False
        left = ", ".join(names) + ("," if len(names) == 1 and isinstance(got, (tuple, list)) else "")
        self.lines.append(f"{left} = {at}(lambda: {expr})")
        return True

    # ------------------------------------------------------------ the whole

    def finish(self):
        r = self.r
        outputs = [v.name for v in self.values if r.random() < (0.8 if v is self.values[-1] else 0.45) and v.name.startswith("v")]
        tensors = [v.name for v in self.values if isinstance(v.example, torch.Tensor) and not v.loose]
        outputs += [r.choice(outputs)] if outputs and r.random() < 0.3 else []
        outputs += ["None"] if r.random() < 0.2 else []
        outputs += [r.choice(tensors)] if r.random() < 0.3 or not outputs else []
        r.shuffle(outputs)
        self.nested = len(outputs) > 2 and r.random() < 0.3
        self.outputs = outputs
        self.write()

    def write(self):
        outputs = self.outputs
        lines = [HEADER, "", "def small(n):", "    torch._check(n >= 0)", "    torch._check(n <= 4)", "    return n", "", "", "class M(nn.Module):",
                 "    def __init__(self):", "        super().__init__()", "        torch.manual_seed(0)"]
        if self.nested and len(outputs) > 2:
            outputs = [f"({outputs[0]}, [{outputs[1]}])"] + outputs[2:]
        body = "\n".join(self.lines)
        lines += [f"        self.{n} = {t}" for n, t in self.modules.items()]
        lines += [f"        self.register_buffer('{n}', fill({t}, {', '.join(map(str, s)) + ', ' if s else ''}k={k}))" for k, (n, t, s) in enumerate(self.buffers)]
        lines += [f"        self.s = nn.ModuleList(Step() for _ in range({self.n_steps}))", "",
                  f"    def forward(self, {', '.join(n for n, _, _ in self.inputs)}):", "        s = self.s"]
        lines += ["        " + line for line in self.lines]
        lines += [f"        return {', '.join(outputs)},"]
        self.source = "\n".join(lines) + "\n"
        for n in self.modules:
            if f"self.{n}(" not in body:
                self.source = re.sub(rf"        self\.{n} = .*\n", "", self.source)

    def model(self):
        env = {}
        exec(self.source, env)
        return env["M"]().eval()
