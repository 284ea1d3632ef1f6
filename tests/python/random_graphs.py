"""Random programs with random places to run: what a compiled program gives, writes and keeps is what eager PyTorch does.

A seed makes a Python module (random_programs.py), in which each line is a submodule: a configuration says where it goes
(--torch-modules). `python tests/python/random_graphs.py --seed N --count M` goes through seeds N to N+M-1; --show prints
the module of one. What fails is printed with seed, configuration and source; --reduce makes it smaller first.
slow_random_graphs.py runs some."""
import argparse
import collections
import json
import logging
import pathlib
import random
import re
import subprocess
import sys
import traceback

import torch
from common import SCRATCH  # also finds cierge
from random_programs import HEADER, Graph
from torch.utils import _pytree as pytree

import cierge

logging.getLogger("torch").setLevel(logging.CRITICAL)
REFUSED = ("exists only in Python", "which cierge cannot write back", "which cierge cannot check")  # doc/known-failures.md


class Skipped(Exception):
    """PyTorch itself does not do it."""


class Failure(Exception):
    pass


def configuration(r, graph):
    """Options of a compilation, and how it is described."""
    o = {"torch_mode": r.choice(("auto", "ops", "script", "script"))}
    kind = r.choices(("nodes", "all", "native", "ops", "islands", "costs"), (10, 2, 2, 2, 2, 1))[0]
    if kind == "nodes":
        share = r.choice((0.2, 0.5, 0.5, 0.8))
        o["torch_modules"] = [f"s.{k}" for k in range(graph.n_steps) if r.random() < share]
        o["no_cost_drop"] = r.random() < 0.8
    elif kind == "all":
        o["backends"] = "torch"
    elif kind == "native":
        o["no_cost_drop"] = True
    elif kind == "ops":
        names = sorted(set(re.findall(r"(?:torch|aten|F)\.(\w+)\(", graph.source) + re.findall(r"\.(\w+_)\(", graph.source)))
        o["torch_ops"] = ",".join("aten." + n for n in names if r.random() < 0.5) or "aten.add"
        o["no_cost_drop"] = True
    elif kind == "islands":
        o["min_region"] = r.randint(1, 6)
        o["torch_modules"] = [f"s.{k}" for k in range(graph.n_steps) if r.random() < 0.2]
    return {k: v for k, v in o.items() if v not in (False, [])}


def clones(x):
    return tuple(t.clone() if isinstance(t, torch.Tensor) else t for t in x)


def expected(f, calls, model=None):
    """Per call: outputs, inputs as they are afterwards."""
    out = []
    with torch.no_grad():
        for x in calls:
            x = clones(x)
            y = pytree.tree_flatten(f(*x))[0]
            out.append((clones(y), x))
    return out


def compare(what, got, want):
    if want is None:
        if got is not None:
            raise Failure(f"{what}: not None")
        return
    if got is None:
        raise Failure(f"{what}: None")
    if not isinstance(want, torch.Tensor):
        want = torch.tensor(want, dtype=torch.bool if isinstance(want, bool) else torch.int64 if isinstance(want, int) else torch.float64)
    if got.dtype != want.dtype or got.shape != want.shape:
        raise Failure(f"{what}: {got.dtype} {tuple(got.shape)}, not {want.dtype} {tuple(want.shape)}")
    try:
        torch.testing.assert_close(got, want.contiguous(), equal_nan=True)
    except AssertionError as e:
        raise Failure(f"{what}: {e}\ngot {got}\nexpected {want}") from None


def first_line(e):
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:110]


def exported(graph, functional):
    model = graph.model()
    dims = tuple({d: torch.export.Dim.AUTO for d in range(len(s)) if graph.may_vary(s, d)} for _, _, s in graph.inputs)
    try:
        with torch.no_grad():
            program = torch.export.export(model, graph.make(0), dynamic_shapes=dims if any(dims) else None, strict=False)
            program = program.run_decompositions() if functional else program
            path = SCRATCH / "random.pt2"
            torch.export.save(program, path)
            again = torch.export.load(path)
    except Exception as e:
        raise Skipped(f"export: {first_line(e)}") from None
    return path, again


def has_symbols(program):
    return bool(program.range_constraints) and any(
        isinstance(d, torch.SymInt) for n in program.graph.nodes if n.op == "placeholder" and isinstance(n.meta.get("val"), torch.Tensor) for d in n.meta["val"].shape)


def run_compiled(context, x):
    for k, t in enumerate(x):
        context.set_input(k, t)
    context.call()
    n = cierge._library().cierge_output_count(context.program._handle)
    return [None if t is None else torch.from_dlpack(t) for t in (context.output(k) for k in range(n))]


def prepare(graph, functional):
    """The exported program, inputs of two calls, and what eager PyTorch makes of them."""
    path, program = exported(graph, functional)
    sizes = graph.sizes[0] + 3 if has_symbols(program) else None
    for n in [sizes, None] if sizes else [None]:
        calls = [graph.make(0), graph.make(1, n)]
        try:
            want, judge = expected(graph.model(), calls), expected(program.module(), calls)
            break
        except Exception as e:
            if n is None:
                raise Skipped(f"eager: {first_line(e)}") from None
    for (a, x), (b, y) in zip(want, judge):
        try:
            for p, q in zip(a + x, b + y, strict=True):
                compare("", p if isinstance(p, torch.Tensor) or p is None else torch.tensor(p), q)
        except (Failure, ValueError):
            raise Skipped("PyTorch's exported program differs from eager") from None
    return path, calls, want, n


def check_seed(seed, stats, configurations=2, steps=None):
    graph, r = Graph(seed, steps), random.Random(seed * 7919 + 1)
    functional = r.random() < 0.5
    path, calls, want, sizes = prepare(graph, functional)
    stats["functional" if functional else "training"] += 1
    stats["symbolic"] += bool(sizes)
    stats.update({"lines " + k: n for k, n in graph.used.items()})
    for _ in range(configurations):
        o = configuration(r, graph)
        try:
            check_configuration(graph, path, o, calls, want, stats)
        except Exception as e:
            if isinstance(e, cierge.Error) and any(text in str(e) for text in REFUSED):
                raise Skipped(f"refused: {e}"[-90:]) from None
            e.configuration = f"{'functional' if functional else 'training'} dialect, sizes {sizes}, " + " ".join(f"{k}={v}" for k, v in o.items())
            e.graph, e.functional, e.options = graph, functional, o
            raise


def still_fails(graph, functional, options, text):
    try:
        graph.write()
        path, calls, want, _ = prepare(graph, functional)
        check_configuration(graph, path, options, calls, want, collections.Counter())
    except Skipped:
        return False
    except SyntaxError:
        return False
    except Exception as e:
        return kind_of(e) == text
    return False


def kind_of(e):
    return re.sub(r"\d+|v\d+", "N", (type(e).__name__ + str(e)).split("\n")[0])[:40]


def reduced(e):
    """The same failure of fewer lines and outputs."""
    g, text, again = e.graph, kind_of(e), True
    while again:
        again = False
        for part in ("outputs", "lines"):
            for k in reversed(range(len(getattr(g, part)))):
                whole = list(getattr(g, part))
                if part == "outputs" and len(whole) == 1:
                    break
                setattr(g, part, whole[:k] + whole[k + 1:])
                if still_fails(g, e.functional, e.options, text):
                    again = True
                else:
                    setattr(g, part, whole)
        for name in [m for m in e.options.get("torch_modules", [])]:
            o = {**e.options, "torch_modules": [m for m in e.options["torch_modules"] if m != name]}
            if still_fails(g, e.functional, o, text):
                e.options = o
    g.write()


def check_configuration(graph, path, options, calls, want, stats):
    report = SCRATCH / "random.json"
    out = SCRATCH / "random.cierge"
    cierge.compile(path, output=out, report=report, **options)
    regions = json.loads(report.read_text())["regions"]
    for region in regions:
        stats["regions " + region["backend"] + (" " + region["mode"] if region.get("mode") else "")] += 1
    stats["mixed"] += len({region["backend"] for region in regions}) > 1
    context = cierge.load(out).context(threads=1)
    held = []
    for k, x in enumerate(calls):
        x = clones(x)
        held.append((run_compiled(context, x), x))
    for k, ((got, x), (values, after)) in enumerate(zip(held, want)):  # at the end: results that are held do not change
        if len(got) != len(values):
            raise Failure(f"{len(got)} outputs, not {len(values)}")
        for i, (a, b) in enumerate(zip(got, values)):
            compare(f"call {k}, output {i}", a, b)
        for (name, _, _), a, b in zip(graph.inputs, x, after):
            compare(f"call {k}, input {name} afterwards", a, b)
    stats["runs"] += 1


def run_seeds(first, count, stats, progress=lambda seed: None, steps=None, reduce=False):
    failed = 0
    for seed in range(first, first + count):
        progress(seed)
        try:
            check_seed(seed, stats, steps=steps)
            stats["passed"] += 1
        except Skipped as e:
            stats["skipped"] += 1
            stats["skip: " + re.sub(r"\d+", "N", str(e))[:90]] += 1
        except Exception as e:
            failed += 1
            text = str(e) if isinstance(e, (Failure, cierge.Error)) else traceback.format_exc()
            print(f"FAILED seed {seed}: {text}\nconfiguration: {getattr(e, 'configuration', '?')}")
            if hasattr(e, "graph"):
                if reduce:
                    reduced(e)
                    print("reduced: " + " ".join(f"{k}={v}" for k, v in e.options.items()))
                print(e.graph.source[len(HEADER):], flush=True)
    stats["failed"] += failed
    return failed


def in_children(first, count, total, batch=100, options=()):
    """Seeds in child processes, so that a crash is one more failure."""
    at, end = first, first + count
    while at < end:
        n = min(batch, end - at)
        note = SCRATCH / "seed"
        child = subprocess.run([sys.executable, __file__, "--child", str(note), "--seed", str(at), "--count", str(n), *options], stdout=subprocess.PIPE, text=True)
        lines = child.stdout.splitlines()
        if child.returncode in (0, 1) and lines and lines[-1].startswith("{"):
            total.update(json.loads(lines.pop()))
            at += n
        else:
            seed = int(note.read_text())
            total["failed"] += 1
            lines.append(f"FAILED seed {seed}: the process ended with {child.returncode}")
            at = seed + 1
        for line in lines:
            print(line, flush=True)
        print(f"  … seed {at}: {total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", file=sys.stderr, flush=True)


def run(*ranges, options=()):
    """ranges: (first seed, how many)"""
    stats = collections.Counter()
    for first, count in ranges:
        in_children(first, count, stats, options=options)
    for key, n in sorted(stats.items()):
        print(f"{key}: {n}")
    print(f"{stats['passed']} passed, {stats['failed']} failed")
    return bool(stats["failed"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--count", type=int, default=1)
    p.add_argument("--show", action="store_true")
    p.add_argument("--reduce", action="store_true", help="print a smaller module that fails in the same way")
    p.add_argument("--child", help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.show:
        print(Graph(a.seed).source)
        return 0
    if a.child:
        stats = collections.Counter()
        failed = run_seeds(a.seed, a.count, stats, lambda seed: pathlib.Path(a.child).write_text(str(seed)), reduce=a.reduce)
        print(json.dumps(stats))
        return bool(failed)
    return run((a.seed, a.count), options=["--reduce"] if a.reduce else [])


if __name__ == "__main__":
    sys.exit(main())
