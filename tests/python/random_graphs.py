"""Random programs with random assignments of nodes to backends, judged by eager PyTorch.

    python tests/python/random_graphs.py [--seed N] [--count M]

Each step of a program is a module of its own, so `--torch-modules` can send any set of them to LibTorch. A failure prints seed,
options and steps. test_random_graphs.py runs a few, slow_random_graphs.py more.
"""
import argparse
import copy
import random
import sys

import numpy as np
import torch
from common import SCRATCH, cli
from torch import nn

import cierge
import judge

N = 4  # B: the rows; every value "main" is f32 [B, N]; "whole": i64 [B, N]; "pair": f32 [B, 2] and i64 [B, 2]; "number": an int or float


class Step(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *args):
        return self.f(*args)


def write_row(x, y):
    z = x.clone()
    z[0].copy_(y[-1])
    z.narrow(1, 1, 2).mul_(2)
    return z


def write_alias(x):
    z = x * 1
    v = z.t()
    v.add_(1)
    z.relu_()
    return v.t() + z


# name: (kinds of the arguments, kinds of the results, function)
STEPS = {
    "relu": ("m", "m", torch.relu), "tanh": ("m", "m", torch.tanh), "neg": ("m", "m", torch.neg), "sigmoid": ("m", "m", torch.sigmoid),
    "softmax": ("m", "m", lambda x: torch.softmax(x, -1)), "layer_norm": ("m", "m", lambda x: nn.functional.layer_norm(x, (N,))),
    "add": ("mm", "m", torch.add), "sub": ("mm", "m", lambda x, y: torch.sub(x, y, alpha=2)), "mul": ("mm", "m", lambda x, y: torch.tanh(x) * y),
    "maximum": ("mm", "m", torch.maximum), "where": ("mm", "m", lambda x, y: torch.where(x > y, x, -y)),
    "matmul": ("mm", "m", lambda x, y: torch.tanh(x @ y.t()) @ x), "mean": ("m", "m", lambda x: x - x.mean(0, keepdim=True)),
    "sum": ("m", "m", lambda x: x.sum(1, keepdim=True).expand(-1, N) * 0.5), "transpose": ("m", "m", lambda x: x.t().contiguous().t() + 1),
    "reshape": ("m", "m", lambda x: x.reshape(-1).flip(0).view(-1, N)), "row": ("mm", "m", write_row), "alias": ("m", "m", write_alias),
    "topk": ("m", "p", lambda x: torch.topk(x, 2)), "max": ("mp", "m", lambda x, v, i: x + x.max(1).values[:, None] * v.mean()),
    "gather": ("mp", "m", lambda x, v, i: torch.cat([x.gather(1, i), v], 1)), "split": ("m", "m", lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1)),
    "pair": ("p", "p", lambda v, i: (v * 2, i.flip(1))), "svd": ("m", "m", lambda x: x + torch.linalg.svdvals(x).sum()),
    "div": ("m", "m", lambda x: torch.div(x, 3.0) + torch.div(x, x.abs() + 1)), "found": ("m", "m", lambda x: x + x[x > 0.25].sum()),
    "count": ("m", "m", lambda x: x * 0.5 + torch.nonzero(x > 0).size(0)), "item": ("w", "n", lambda w: w.sum().item()),
    "scale": ("mn", "m", lambda x, n: x + n * 0.125), "size": ("m", "n", lambda x: x.size(0) + x.dim()),
    "whole": ("ww", "w", lambda a, b: a * 2 - b), "floor": ("w", "w", lambda a: torch.div(a, 3, rounding_mode="floor") % 5),
    "count_in": ("mw", "m", lambda x, w: x + w.to(torch.bfloat16).to(x.dtype) + (w > 1).double().mean().to(x.dtype)), "cumsum": ("w", "w", lambda a: a.cumsum(1)),
    "one_hot": ("w", "m", lambda w: (w.abs() % 4)[:, :1].eq(torch.arange(N)).to(torch.get_default_dtype())), "sort": ("m", "p", lambda x: tuple(t[:, :2] for t in torch.sort(x, 1))),
}
COUNT = {"m": 1, "w": 1, "n": 1, "p": 2}


class Program(nn.Module):
    """inputs: x (main), y (main, may be written to), w (whole); a buffer; outputs as `out` says: values, None, the same twice."""

    def __init__(self, r):
        super().__init__()
        self.register_buffer("kept", torch.linspace(-1, 1, N))
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, N))
        self.steps, self.plan, self.names = nn.ModuleList(), [], []
        have = {"m": [(0,), (1,)], "w": [(2,)], "p": [], "n": []}
        count = 3
        for _ in range(r.randint(4, 14)):
            name = r.choice([k for k, (args, _, _) in STEPS.items() if all(have[a] for a in args)])
            args, kind, f = STEPS[name]
            at = [i for a in args for i in r.choice(have[a])]
            self.steps.append(Step(f))
            self.plan.append(at)
            self.names.append(f"{len(self.names)} {name}{tuple(at)}")
            have[kind].append(tuple(range(count, count + COUNT[kind])))
            count += COUNT[kind]
        self.writes_input, self.writes_state = r.random() < 0.3, r.random() < 0.4
        self.out = [r.choice([None, *range(3, count)]) for _ in range(r.randint(1, 3))] + [count - 1] * r.randint(1, 2)

    def forward(self, x, y, w):
        values = [x, y * self.scale, w]
        for step, at in zip(self.steps, self.plan):
            made = step(*[values[i] for i in at])
            values += list(made) if isinstance(made, tuple) else [made]
        if self.writes_input:
            y.mul_(0.5).add_(values[0])
        if self.writes_state:
            self.kept.add_(x.mean(0))
            return [None if i is None else values[i] for i in self.out], (values[1] + self.kept, {"kept": self.kept.clone()})
        return [None if i is None else values[i] for i in self.out], (values[1],)


def inputs_of(r, rows):
    g = torch.Generator().manual_seed(r.randint(0, 1 << 30))
    return torch.randn(rows, N, generator=g), torch.randn(rows, N, generator=g), torch.randint(-3, 4, (rows, N), generator=g)


def leaves(x):
    if isinstance(x, dict):
        return [t for v in x.values() for t in leaves(v)]
    return [t for v in x for t in leaves(v)] if isinstance(x, (list, tuple)) else [x]


def double(model, given):
    """What a float64 run of the next call gives, and leaves in its inputs."""
    torch.set_default_dtype(torch.float64)
    try:
        wide = [t.double() if t.is_floating_point() else t.clone() for t in given]
        return leaves(copy.deepcopy(model).double()(*wide)) + wide
    finally:
        torch.set_default_dtype(torch.float32)


def one(seed):
    """None, or what is wrong."""
    r = random.Random(seed)
    model = Program(r).eval()
    rows, functional = r.choice([1, 3, 5]), r.random() < 0.5
    batch = {0: torch.export.Dim("n", min=2, max=64)} if r.random() < 0.4 and rows > 1 else None
    path = SCRATCH / "random.pt2"
    with torch.no_grad():
        try:
            program = torch.export.export(model, inputs_of(r, rows), dynamic_shapes=(batch, batch, batch) if batch else None, strict=False)
        except Exception:  # a size that must be fixed: as it is, then
            batch = None
            program = torch.export.export(model, inputs_of(r, rows), strict=False)
        torch.export.save(program.run_decompositions() if functional else program, path)
    chosen = [k for k in range(len(model.steps)) if r.random() < r.choice([0.2, 0.5, 0.8])]
    options = ["--torch-mode", r.choice(["auto", "ops", "script"]), *(["--no-cost-drop"] if r.random() < 0.8 else [])]
    for k in chosen:
        options += ["--torch-modules", f"steps.{k}"]
    if r.random() < 0.15:
        options += ["--min-region", str(r.choice([2, 3, 5]))]
    if r.random() < 0.1:
        options += ["--backends", "torch"]
    where = f"seed {seed}: {model.names} -> {model.out}{' functional' if functional else ''}; {' '.join(options)}"
    c = cli("compile", path, "-o", SCRATCH / "random.cierge", "--verify", *options)
    if c.returncode:
        return f"{where}\n  compile: {c.returncode} {c.stderr[-600:]}"
    context = cierge.load(SCRATCH / "random.cierge").context(threads=r.choice([1, 2]))
    for call in range(2):
        given = inputs_of(r, rows if call == 0 or not batch else r.choice([2, 6, 9]))
        mine = [t.clone() for t in given]
        with torch.no_grad():
            exact = double(model, given)
            want = leaves(model(*given))
        try:
            for i, t in enumerate(mine):
                context.set_input(i, t)
            context.call()
            got = [context.output(i) for i in range(len(context.program.outputs))]
            got = [None if t is None else torch.from_dlpack(t).clone() for t in got]
        except cierge.Error as e:
            return f"{where}\n  call {call}: {e}"
        if len(got) != len(want):
            return f"{where}\n  call {call}: {len(got)} outputs, not {len(want)}"
        for k, (g, w) in enumerate([*zip(got, want), *zip(mine, given)]):
            wrong = judge.difference(g, w, exact[k])
            if wrong:
                return f"{where}\n  call {call}: value {k}: {wrong}"
    return None


def run(seeds):
    failed = 0
    for seed in seeds:
        try:
            wrong = one(seed)
        except Exception as e:
            wrong = f"seed {seed}: {type(e).__name__}: {str(e)[:500]}"
        if wrong:
            failed += 1
            print(wrong)
    print(f"{len(seeds) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--count", type=int, default=100)
    a = p.parse_args()
    np.random.seed(0)
    torch.set_num_threads(1)
    sys.exit(run(range(a.seed, a.seed + a.count)) != 0)
