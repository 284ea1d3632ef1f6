"""Judging of the row test: whether a unit's results are PyTorch's, by any of the code paths that PyTorch has for them."""
import functools
import re

import torch
from row_calls import RAISES
from row_units import ROUNDS, strided

import judge

NO_VALUES = {"empty.memory_format", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}  # only dtype and shape are defined
EITHER_ZERO = {"fmax", "fmin"}  # of 0 and -0: PyTorch's bfloat16 gives the second, its other dtypes the first
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
# Where the processor multiplies bfloat16 (AVX512-BF16, AMX), PyTorch's kernels read beyond rows and let a NaN or an infinity of one
# result into others: what they give in float32, rounded, is PyTorch's answer as well.
PRODUCTS = re.compile(r"_?conv|convolution|(add)?(b?mm|mv|bmm)|baddbmm|v?dot|linear|matmul|einsum|tensordot|inner|scaled_dot")


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
    if u.dtype == torch.bfloat16 and PRODUCTS.match(u.row):
        yield [r.to(u.dtype) for r in u.eager(seen, n, torch.float32)]
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
