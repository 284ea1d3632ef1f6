"""Half precision: loops that convert in registers, results that need no rounding, numbers that become bits while compiling."""
import itertools

from common import compile, export, main, module, torch

import cierge

SPECIAL = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1.0, -1.0, 2.0**-24, 2.0**-15, -65504.0, 0.1, 6.1, 2.5, -3.5]
OPERATORS = [
    lambda x, y: -x, lambda x, y: x.abs(), lambda x, y: x.neg().abs().flip(0), lambda x, y: torch.minimum(x, y), lambda x, y: torch.maximum(x, y),
    lambda x, y: x.clamp(-1, 6), lambda x, y: x.clamp(-1, 6.1), lambda x, y: x.clamp(y, x), lambda x, y: x.relu() + y, lambda x, y: x.floor(), lambda x, y: x.round(),
    lambda x, y: x.trunc() * y, lambda x, y: x.copysign(y), lambda x, y: torch.nn.functional.threshold(x, 0.3, 0.7), lambda x, y: x.nan_to_num(),
    lambda x, y: torch.where(x > y, -x, 0.1), lambda x, y: torch.full_like(x, 0.1), lambda x, y: torch.full_like(x, 1e-7),
    lambda x, y: torch.full_like(x, -65504.0), lambda x, y: torch.full_like(x, 2.0**-14 + 2.0**-25), lambda x, y: torch.full_like(x, 2049.0), lambda x, y: torch.full_like(x, float("nan")), lambda x, y: torch.nn.functional.pad(x, (1, 2), value=-2.7),
    lambda x, y: x + y, lambda x, y: x * y + 1, lambda x, y: x.float(), lambda x, y: (x > y).to(x.dtype), lambda x, y: torch.fmax(x, y), lambda x, y: x.sigmoid() * y,
    lambda x, y: torch.heaviside(x, y), lambda x, y: x.remainder(y), lambda x, y: x.lerp(y, 0.3), lambda x, y: torch.nn.functional.hardtanh(x, -2, 2),
]
REDUCTIONS = [lambda x: x.sum(-1), lambda x: x.mean(-1), lambda x: x.amax(-1), lambda x: x.amin(-1), lambda x: x.nansum(-1), lambda x: (x * 2).sum(), lambda x: x.max(), lambda x: x.min(-1)[0],
              lambda x: x.abs().sum(-1), lambda x: x.softmax(-1)]


def values(n, dtype):
    x = torch.randn(n, generator=torch.Generator().manual_seed(n))
    x[:n // 2] = torch.tensor(list(itertools.islice(itertools.cycle(SPECIAL), n // 2)))
    return x.to(dtype)


def results(f, *inputs):
    context = cierge.load(compile(export(module(f), inputs, "half"), "--require-native")[0]).context()
    return [torch.from_dlpack(t) for t in context.run(*inputs)]


def close(got, want):
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        torch.testing.assert_close(a, b, equal_nan=True, msg=lambda m, k=k: f"result {k}: {m}")
        zeros = b == 0
        assert torch.equal(a[zeros].signbit(), b[zeros].signbit()), f"result {k}: the sign of 0"


def test_elements():
    """Each operator in a size of its own, so that none shares a kernel: below and beyond what registers hold at a time."""
    for dtype in (torch.float16, torch.bfloat16):
        x = [values(14 + 5 * i, dtype) for i in range(len(OPERATORS))]
        y = [values(14 + 5 * i, dtype).roll(3) for i in range(len(OPERATORS))]
        f = lambda *t: tuple(op(a, b) for op, a, b in zip(OPERATORS, t[:len(x)], t[len(x):]))  # noqa: E731
        close(results(f, *x, *y), f(*x, *y))


def test_reductions():
    for dtype, rows in itertools.product((torch.float16, torch.bfloat16, torch.float32), (7, 1)):
        x = [torch.randn(rows, 30 + 13 * i + 3000 * (i % 2), generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(len(REDUCTIONS))]
        for t in x if rows > 1 else []:
            t[1, 3], t[2, -1], t[3] = float("nan"), float("inf"), -0.0
        f = lambda *t: tuple(op(a) for op, a in zip(REDUCTIONS, t))  # noqa: E731
        close(results(f, *x), f(*x))


main(globals())
