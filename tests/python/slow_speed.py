"""Kinds of operators that were once many times slower than eager PyTorch, beside it: one thread, in turn, the least CPU time of each.
bench/operators.py measures all of them; the bound here is generous. And what the cost model says of the commonest product."""
import sys
import time

from common import ROOT, compile, export, holds, main, torch

sys.path.insert(0, str(ROOT / "bench"))
import check_costs  # noqa: E402
import cierge  # noqa: E402

F = torch.nn.functional
MOST = 2.0
KINDS = {
    "sine": (torch.sin, torch.float32), "expm1": (torch.expm1, torch.float32), "atan2": (lambda x: torch.atan2(x, x), torch.float64), "softplus": (F.softplus, torch.float32),
    "remainder": (lambda x: torch.remainder(x, 0.7), torch.float32), "lgamma": (torch.lgamma, torch.float32), "exp of f64": (torch.exp, torch.float64),
    "erf of f64": (torch.erf, torch.float64), "gelu of f16": (F.gelu, torch.float16), "sum of f16": (lambda x: x.sum(-1), torch.float16),
    "f16 to f32": (lambda x: x.float(), torch.float16), "cat of f16": (lambda x: torch.cat([x, x], 1), torch.float16), "roll": (lambda x: x.roll(3, 1), torch.float16),
    "cat of short rows": (lambda x: torch.cat([x.view(-1, 3), x.view(-1, 3)], 0), torch.float16),
    "clamp of f16": (lambda x: x.clamp(0.6, 1.4), torch.float16), "lerp of f16": (lambda x: x.lerp(x, 0.3), torch.float16),
    "pad of bf16": (lambda x: F.pad(x, [1, 1]), torch.bfloat16), "atan2 of floats": (lambda x: torch.atan2(x, x), torch.float32),
    "cosine of f16": (torch.cos, torch.float16), "transposed f16": (lambda x: x.t().contiguous(), torch.float16),
    "bilinear of f16": (lambda x: F.interpolate(x[None, None], scale_factor=2.0, mode="bilinear"), torch.float16),
    "cumsum of f16": (lambda x: x.cumsum(-1), torch.float16), "dot of f16": (lambda x: x.flatten().dot(x.flatten()), torch.float16),
    "bilinear of bf16": (lambda x: F.interpolate(x[None, None], scale_factor=2.0, mode="bilinear"), torch.bfloat16),
    "power of a constant in f16": (lambda x: 2.0 ** x, torch.float16), "remainder of a constant": (lambda x: torch.remainder(2.0, x), torch.float32),
    "selu": (lambda x: F.selu(x - 1), torch.float32), "choices of bf16": (lambda x: F.hardsigmoid(x), torch.bfloat16), "f32 to f16": (lambda x: x.half(), torch.float32),
    "batch_norm of f16": (lambda x: F.batch_norm(x.view(5, 6, 100, 100), *[x[0, :6]] * 2), torch.float16),
    "sum over rows of f16": (lambda x: x.sum(0), torch.float16), "short rows of f16": (lambda x: F.interpolate(x.view(1, -1, 3, 4), size=(6, 8), mode="bilinear"), torch.float16),
}


def least(functions, rounds=9):
    best = {}
    for _ in range(rounds):
        for name, f in functions.items():
            f()
            start = time.thread_time()
            for _ in range(3):
                f()
            best[name] = min(best.get(name, 1e9), (time.thread_time() - start) / 3)
    return best


class Of(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


def test_no_kind_is_slower_than_eager():
    torch.set_num_threads(1)
    for name, (f, dtype) in KINDS.items():
        x = (torch.rand(1000, 300) + 0.5).to(dtype)
        artifact, _ = compile(export(Of(f), (x,), "kind"))
        context = cierge.load(artifact).context(threads=1)
        context.set_input(0, x)

        def slower():
            with torch.no_grad():
                t = least({"eager": lambda: f(x), "cierge": context.call})
            return t["cierge"] > MOST * t["eager"] and (name, t)
        holds(slower)


def test_one_row_costs_the_weights():
    """Of a row times a matrix beyond any cache, LibTorch's time ÷ the native one is what the estimates say, three times off at most."""
    x = (torch.rand(1, 2048),)
    path = export(check_costs.Repeated(lambda: torch.nn.Linear(2048, 2048), 2), x, "row")

    def off():
        rows, _ = check_costs.checked(cierge, path, x, None, 9)
        guess, took = (rows["torch"][k] / rows["native"][k] for k in (0, 1))
        return not 1 / 3 < guess / took < 3 and (guess, took)
    holds(off)


if __name__ == "__main__":
    main(globals())
