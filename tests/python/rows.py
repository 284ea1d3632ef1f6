"""Every native row of the operator table, in every dtype that PyTorch takes there, against eager PyTorch.

A row's calls (row_calls.py) become units: one call in one dtype, with a size that is symbolic; and, in turn, fixed (behind a view, so that
its elements lie strided), 1 or 0. The units of a row are one program, compiled with --require-native and called with sizes 0, 1, 7, 64 and
1,000, inputs contiguous and strided, numbers that are ordinary and numbers that are not. `python tests/python/rows.py KEY…` tries
some rows; slow_rows.py all of them, test_rows.py a slice of them."""
import argparse
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
from common import CIERGE
from row_calls import CALLS, RAISES, WORDS, made_from_schema, operator
from row_judge import difference
from row_units import Program, Unit, call, strided

import cierge

# What is left out, and why.
SUMS_PRODUCTS = ("einsum", "tensordot", "upsample")  # as the anchors do: the largest numbers overflow or cancel by the order
# Of no elements PyTorch gives other than the rest of it says, or its process dies: doc/known-failures.md.
NOT_EMPTY = {"pixel_unshuffle", "native_dropout", "native_layer_norm", "_scaled_dot_product_flash_attention_for_cpu"}
NOT_TRIED = {
    "_conj": "PyTorch has it for complex numbers alone, which are LibTorch's",
    "_native_batch_norm_legit": "writes to its running statistics: LibTorch's, whether it trains or not",
    "_reshape_alias": "takes raw strides: refused without the user's word (slow_safety.py)",
    **dict.fromkeys(("gru.input", "lstm.input", "rnn_relu.input", "rnn_tanh.input"), "native with constant weights alone (slow_recurrent.py)"),
}
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


def datasets(traits):
    """(n, kind, whether the inputs are strided)"""
    if "pointwise" in traits:
        return [(64, "normal", False), (64, "special", False), (0, "normal", False), (1, "normal", False), (7, "special", False), (1000, "normal", False),
                (1000, "special", False), (1000, "special", True)]
    huge = () if "anchor" in traits or "sums products" in traits else ("huge",)  # they overflow or cancel by the order in which products are summed
    return [(64, "normal", False), *[(64, kind, False) for kind in ("nan", "inf", "small", *huge)], (0, "normal", False), (1, "normal", False), (7, "normal", True), (1000, "normal", False)]


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
