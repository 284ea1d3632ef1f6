"""Every native row of the operator table beside eager PyTorch, one thread:

    python bench/operators.py [--only NAME,…] [--dtypes f32,…] [--sizes N,…] [--quick] [--minutes N] [--times FILE] [--out FILE]

A case is one call of a row (`cierge ops`) in one dtype, with as many elements as --sizes says in its largest tensor: as one would use
it (USUAL), else the first call that tests/python/row_calls.py has of it. Eager calls the operator, cierge a context whose inputs are
bound, both from Python, in turn; times are CPU time, the least of the rounds. Where eager's result is a view, it copies it, as
cierge does. --quick: 10^5 elements alone. --minutes: rows, whose order is drawn by chance, until the time is up. --times: all of it takes
hours; what was measured before is read from that file, and what is measured now is added. Which cases are left out, and why, stands
under the table."""
import argparse
import collections
import concurrent.futures
import datetime
import functools
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests/python")]
os.environ.setdefault("CIERGE_LIB_DIR", str(ROOT / "build"))
warnings.filterwarnings("ignore")

import cierge  # noqa: E402
import limits  # noqa: E402
import stats  # noqa: E402
import torch  # noqa: E402
from row_calls import CALLS, FIRST_ONLY, RAISES, WORDS, Call, Made, Size, X, index, made_from_schema, mask, operator, size  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

EMPTY = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}
DTYPES = {WORDS[t]: t for t in (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
SIZES = 10**3, 10**5, 10**7
SLOWER = 1.05                  # cierge ÷ eager: from here on a case counts as slower
BURST_S, SLOW_S = 2e-3, 0.5    # of one program in a round; a call that takes so long is made in two rounds only

by_row, by_column = X("n", 100), X("n", 100)
image = X("n", 16, 28, 28)
USUAL = {  # by overload: what row_calls.py has is made to find errors, in few elements
    **{k: [(X("n", 1000), -1), (X("n", 50), 0)] for k in ("softmax.int", "log_softmax.int", "_safe_softmax")},
    **{k: [(X("n", 1000), -1, False)] for k in ("_softmax", "_log_softmax")},
    **{k: [(by_row, [-1]), (by_column, [0])] for k in ("sum.dim_IntList", "mean.dim", "amax", "amin", "logsumexp", "nansum", "nanmean", "all.dims", "any.dims")},
    **{k: [(by_row, 1), (by_column, 0)] for k in ("max.dim", "min.dim", "argmax", "argmin", "prod.dim_int", "all.dim", "any.dim")},
    **{k: [(X("n", 100), d) for d in (1, 0)] for k in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")},
    **{k: [(by_row, [-1])] for k in ("var.dim", "std.dim", "var_mean.dim", "std_mean.dim", "var.correction", "std.correction", "var_mean.correction", "std_mean.correction",
                                     "count_nonzero.dim_IntList")},
    **{k: [(X("n", 100), 1)] for k in ("median.dim", "nanmedian.dim", "mode")},
    **{k: [(X("n", 1000),)] for k in ("sort", "argsort", "msort")}, "topk": [(X("n", 1000), 10)], "kthvalue": [(X("n", 1000), 10)],
    "layer_norm": [(X("n", 1000), [1000], X(1000), X(1000))], "rms_norm": [(X("n", 1000), [1000], X(1000))],
    "native_layer_norm": [(X("n", 1000), [1000], X(1000), X(1000), 1e-5)], "group_norm": [(image, 4, X(16), X(16))],
    "batch_norm": [(image, X(16), X(16), X(16), X(16, positive=True), False, 0.1, 1e-5, False)],
    "instance_norm": [(image, X(16), X(16), None, None, True, 0.1, 1e-5, False)],
    **{k: [(X("n", 100), 1)] for k in ("glu",)},
    **{k: [(X("n", "n"), X("n", "n"))] for k in ("mm", "matmul", "linear")}, "addmm": [(X("n"), X("n", "n"), X("n", "n"))],
    "bmm": [(X("n", 32, 32), X("n", 32, 32))], "baddbmm": [(X("n", 32, 32), X("n", 32, 32), X("n", 32, 32))],
    "mv": [(X("n", "n"), X("n"))], "addmv": [(X("n"), X("n", "n"), X("n"))], "einsum": [("ij,jk->ik", [X("n", "n"), X("n", "n")])],
    **{k: [(X("n", 100), X(100))] for k in ("outer", "ger")} | {"outer": [(X("n"), X(100))], "ger": [(X("n"), X(100))]},
    "scaled_dot_product_attention": [(X(1, 8, "n", 64),) * 3], "_scaled_dot_product_flash_attention_for_cpu": [(X(1, 8, "n", 64),) * 3],
    "conv1d": [(X("n", 16, 100), X(16, 16, 3), X(16), [1], [1])], "conv2d": [(image, X(16, 16, 3, 3), X(16), [1, 1], [1, 1])],
    "conv3d": [(X("n", 8, 8, 8, 8), X(8, 8, 3, 3, 3), X(8), [1, 1, 1], [1, 1, 1])], "convolution": [(image, X(16, 16, 3, 3), X(16), [1, 1], [1, 1], [1, 1], False, [0, 0], 1)],
    "embedding": [(X(1000, 64), index("n", below=1000))], "index_select": [(X(1000, 64), 0, index("n", below=1000))],
    **{k: [(X("n", 100), 1, index("n", 100, below=100))] for k in ("gather",)}, "take": [(X(1000), index("n", below=1000))],
    "masked_fill.Scalar": [(X("n"), mask("n"), 2)], "permute": [(X("n", 32, 32), [2, 0, 1])], "transpose.int": [(X("n", 64), 0, 1)], "t": [(X("n", 64),)],
    "repeat": [(X("n", 64), [2, 1])], "tile": [(X("n", 64), [1, 2])], "roll": [(X("n", 64), [1], [0]), (X("n", 64), [3], [1])], "flip": [(X("n", 64), [1])],
    "cat": [([X("n", 64), X("n", 64)], 1), ([X("n", 64), X("n", 64)], 0)], "stack": [([X("n"), X("n")],)],
    **{k: [(image, [2, 2])] for k in ("avg_pool2d", "max_pool2d", "max_pool2d_with_indices")}, "adaptive_avg_pool2d": [(image, [7, 7])],
    **{k: [(image, [56, 56], *more)] for k, more in (("upsample_nearest2d", ()), ("upsample_bilinear2d", (False,)), ("upsample_bicubic2d", (False,)))},
    **{k: [(X(16, "n", 64), X(1, "n", 64), [X(g * 64, 64), X(g * 64, 64), X(g * 64), X(g * 64)], True, 1, 0.0, False, False, False)]
       for k, g in (("rnn_tanh.input", 1), ("rnn_relu.input", 1), ("gru.input", 3))},
    "lstm.input": [(X(16, "n", 64), [X(1, "n", 64)] * 2, [X(256, 64), X(256, 64), X(256), X(256)], True, 1, 0.0, False, False, False)],
    "eye": [(300, {"dtype": "row"})], "eye.m": [(300, 300, {"dtype": "row"})], "constant_pad_nd": [(image, [1, 1, 1, 1])], "pixel_shuffle": [(image, 2)],
}


def native_rows():
    rows, cierge_ops = {}, pathlib.Path(os.environ["CIERGE_LIB_DIR"]) / "cierge"
    for line in subprocess.run([cierge_ops, "ops"], capture_output=True, text=True, check=True).stdout.splitlines():
        key, kind, *traits = line.split()
        if kind == "native" and key.startswith("aten::"):
            rows[key[6:]] = set(traits)
    return rows


class Case(Call):
    """A call in one size: the `number`-th that is measured of its row."""

    def __init__(self, row, number, call, dtype, elements):
        super().__init__(row, call, dtype)
        self.number, self.elements, self.n = number, elements, 1
        if any(isinstance(d, str) for x in self.x for d in x.shape) or any(isinstance(a, Size) for a in self.leaves):
            self.n = most(elements, elements, self.largest_input)
            if self.largest_result(self.n) > elements:
                self.n = most(self.n, elements, self.largest_result)

    def shape(self, x):
        return [size(d, self.n) for d in x.shape]

    def largest_input(self, n):
        return max((torch.Size([size(d, n) for d in x.shape]).numel() for x in self.x), default=0)

    def largest_result(self, n):
        try:
            with torch.device("meta"):
                shapes = [[size(d, n) for d in x.shape] for x in self.x]
                return max(t.numel() for t in self.eager([torch.empty(s, dtype=x.dtype or self.dtype) for s, x in zip(shapes, self.x)], n))
        except (*RAISES, ZeroDivisionError):
            return 0

    def program(self):
        type_of = lambda t: f"{WORDS[t.dtype]}[{', '.join(map(str, t.shape))}]"  # noqa: E731
        lines, args = self.text(lambda k, x, before: f"%x{k}", lambda a: str(a.at(self.n)), "%m")
        given = ", ".join(f"%x{k}: {type_of(t)}" for k, t in enumerate(self.inputs))
        results = ", ".join(f"%r{k}: {type_of(t)}" for k, t in enumerate(self.want))
        returned = ", ".join(f"%r{k}" for k in range(1 if self.row in FIRST_ONLY else len(self.want)))
        return "\n".join([f"fn @main({given}) {{", *lines, f"  {results} = aten.{self.row}({args})", f"  return {returned}", "}", ""])

    def label(self):
        return f"{self.row} " + self.text(lambda k, x, before: "×".join(map(str, self.shape(x))) or "1", lambda a: str(a.at(self.n)), "made ")[1]

    def prepare(self, folder):
        """Functions by name that compute it, and cierge's context. What it cannot be, it raises."""
        if self.row.split(".")[0] in EMPTY:
            raise ValueError("eager writes no element of what is empty: there is nothing to compare")
        self.inputs = [some(self.shape(x), x, x.dtype or self.dtype, self.n) for x in self.x]
        self.want = self.eager(self.inputs, self.n)
        if not self.want or any(t.dtype not in WORDS for t in self.want):
            raise ValueError("no tensor is its result")
        out = folder / f"{abs(hash((self.label(), self.dtype, self.n)))}.cierge"
        cierge.compile_text(self.program(), out, require_native=True)
        self.context = cierge.load(out).context(threads=1)
        out.unlink()
        for i, t in enumerate(self.inputs):
            self.context.set_input(i, t)
        return {"eager": self.by_eager(), "cierge": self.context.call}

    def by_eager(self):
        of, op = iter(self.inputs), self.op
        leaves = [next(of) if isinstance(a, X) else a.at(self.n) if isinstance(a, Size) else a for a in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        lent = {t.untyped_storage().data_ptr() for t in self.inputs}
        if any(isinstance(a, Made) for a in leaves):
            return lambda: self.eager(self.inputs, self.n)
        if not any(t.untyped_storage().data_ptr() in lent for t in self.want):
            return lambda: op(*args, **kwargs)
        if isinstance(op(*args, **kwargs), torch.Tensor):
            return lambda: op(*args, **kwargs).clone(memory_format=torch.contiguous_format)
        return lambda: [t.clone(memory_format=torch.contiguous_format) for t in op(*args, **kwargs)]


def most(upto, elements, largest):
    """The largest n for which it has no more elements."""
    lo, hi = 1, upto
    while lo < hi:
        middle = (lo + hi + 1) // 2
        lo, hi = (middle, hi) if largest(middle) <= elements else (lo, middle - 1)
    return lo


@functools.cache
def normal(n):
    return torch.randn(n, generator=torch.Generator().manual_seed(0))


def some(shape, x, dtype, n):
    """The tensor that stands for the argument x: normally distributed numbers, indices, bools."""
    count = torch.Size(shape).numel()
    t = normal(1 << max(10, (count - 1).bit_length()))[:count].reshape(shape)
    if x.below is not None:
        return (t.abs() * 1e6).long() % max(size(x.below, n), 1)
    if dtype is torch.bool:
        return t > 0
    t = t.abs() if x.positive else t.sort(-1)[0] if x.sorted and t.dim() else t
    return t.to(dtype, copy=True)


def least(functions, rounds):
    """Seconds of CPU time of a call, the least of the rounds, by name."""
    best, calls = {}, {}
    for name, f in functions.items():
        f()
        start = time.thread_time()
        f()
        calls[name] = max(1, int(BURST_S / max(time.thread_time() - start, 1e-7)))
    slow = 1 in calls.values() and max(calls.values()) == 1
    for r in range(rounds):
        began = time.thread_time()
        for name in list(functions) if r % 2 else reversed(functions):
            f, n = functions[name], calls[name]
            start = time.thread_time()
            for _ in range(n):
                f()
            best[name] = min(best.get(name, 1e9), (time.thread_time() - start) / n)
        if slow and time.thread_time() - began > SLOW_S and r:
            break
    return best


def cases(only, dtypes, sizes):
    table = sorted(native_rows().items())
    random.Random(0).shuffle(table)  # what the machine does meanwhile hits all alike
    for row, traits in table:
        if only and row not in only and row.split(".")[0] not in only:
            continue
        calls = USUAL.get(row) or (CALLS.get(row) or made_from_schema(operator(row)._schema, traits & {"reduction", "view"} or not traits & {"pointwise"}) or [])[:1]
        for number, call in enumerate(calls):
            for dtype in dtypes:
                for elements in sizes:
                    yield Case(row, number, call, DTYPES[dtype], elements)


def prepared(case, folder):
    """The case ready to run, or why it is left out."""
    try:
        return case, case.prepare(folder)
    except (*RAISES, cierge.Error) as e:
        return case, str(e).strip().splitlines()[0][:100] if str(e).strip() else type(e).__name__


def measured(only, dtypes, sizes, rounds, minutes):
    """({(row, number of its call, dtype, elements): (eager, cierge, label, commit)}, {reason: [case]})"""
    times, left, at_a_time, end = {}, {}, 12, time.monotonic() + 60 * minutes
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = cases(only, dtypes, sizes)
        while time.monotonic() < end and (now := list(itertools.islice(waiting, at_a_time))):
            for case, ready in pool.map(lambda c: prepared(c, pathlib.Path(folder)), now):
                dtype = WORDS[case.dtype]
                if isinstance(ready, str):
                    left.setdefault(ready, []).append(f"{case.row} {dtype}")
                    continue
                t = least(ready, rounds)
                times[case.row, case.number, dtype, case.elements] = t["eager"], t["cierge"], case.label(), commit
                print(f"{case.label()} {dtype}: eager {t['eager'] * 1e6:.4g} us, cierge ÷ eager {t['cierge'] / t['eager']:.2f}", flush=True)
    return times, left


def cell(ratio, other):
    mark = "**" * (ratio > SLOWER) + "*" * other
    return f"{mark}{ratio:.2f}{mark}"


def page(times, left, rounds):
    ratios = {k: b / a for k, (a, b, *_) in times.items()}
    slower = {k: r for k, r in ratios.items() if r > SLOWER}
    cpu, commits = limits.cpu(), collections.Counter(t[3] for t in times.values()).most_common()
    sizes, dtypes = sorted({k[3] for k in times}), [d for d in DTYPES if any(k[2] == d for k in times)]
    lines = ["# Native operators beside eager PyTorch", "",
             f"`bench/operators.py`, {datetime.date.today()}, cierge at commit {', '.join(f'{c} ({n} cases)' for c, n in commits)}, PyTorch {torch.__version__}, {cpu['name']} ({', '.join(cpu['has'])}), one thread. "
             f"Each call of a row of `cierge ops` from Python: the operator by eager PyTorch, and a context of cierge whose inputs are bound, in turn, {rounds} rounds, the least CPU "
             "time of each. Where eager's result is a view it is copied, as cierge's is. Numbers are the time of **cierge ÷ eager**: below 1 cierge is faster.", "",
             f"{len({k[0] for k in times})} of {len(native_rows())} rows, {len(times)} cases (row × dtype × size); {len(slower)} take more than {SLOWER} times eager's time. The geometric mean:", "",
             "| elements | " + " | ".join(dtypes) + " |", "|---" * (len(dtypes) + 1) + "|"]
    for n in sizes:
        cells = [[r for k, r in ratios.items() if k[2:] == (d, n)] for d in dtypes]
        lines.append(f"| {n:.0e} | " + " | ".join(f"{stats.geometric_mean(c):.2f}, {sum(r > SLOWER for r in c)} of {len(c)} slower" if c else "–" for c in cells) + " |")
    columns = [(d, n) for d in dtypes for n in sizes]
    lines += ["", "## Every row", "", "By the largest number of a row. Shapes are those of the largest size." + " In italics: measured at another commit than most." * (len(commits) > 1), "",
              "| call | " + " | ".join(f"{d} {n:.0e}" for d, n in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    calls = {}
    for (row, number, d, n), r in sorted(ratios.items(), key=lambda i: i[0][3]):
        calls.setdefault((row, number), {})[d, n] = r
        calls[row, number]["commit", (d, n)] = times[row, number, d, n][3]
        calls[row, number]["label"] = times[row, number, d, n][2].replace("|", "\\|")
    for c in sorted(calls.values(), key=lambda c: -max(c[k] for k in columns if k in c)):
        lines.append(f"| {c['label']} | " + " | ".join(cell(c[k], c["commit", k] != commits[0][0]) if k in c else "–" for k in columns) + " |")
    if not left:
        return "\n".join(lines) + "\n"
    lines += ["", "## Left out", "", "Cases that PyTorch has no kernel for in that dtype or at that size, or that are not native there:", ""]
    lines += [f"- {reason.replace('|', ' ')}: {len(of)}: {', '.join(sorted(set(of))[:4])}{', …' * (len(set(of)) > 4)}" for reason, of in sorted(left.items(), key=lambda i: -len(i[1]))]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="")
    p.add_argument("--dtypes", default=",".join(DTYPES))
    p.add_argument("--sizes", default=",".join(map(str, SIZES)))
    p.add_argument("--quick", action="store_true")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--minutes", type=float, default=1e9)
    p.add_argument("--times")
    p.add_argument("--out")
    a = p.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    sizes = [10**5] if a.quick else [int(float(n)) for n in a.sizes.split(",")]
    times, left = measured(set(filter(None, a.only.split(","))), a.dtypes.split(","), sizes, a.rounds, a.minutes)
    if a.times:
        file = pathlib.Path(a.times)
        before = {tuple(k): t for k, t in json.loads(file.read_text())} if file.exists() else {}
        times = before | times
        file.write_text(json.dumps([[k, t] for k, t in times.items()]))
    text = page(times, left, a.rounds)
    if a.out:
        pathlib.Path(a.out).write_text(text)
    print("\n".join(text.splitlines()[:14]))


if __name__ == "__main__":
    main()
