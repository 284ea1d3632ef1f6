#!/usr/bin/env python3
"""make nnsmith: random models of NNSmith (Liu et al., "NNSmith: Generating Diverse and Valid Test Cases for Deep Learning Compilers", ASPLOS
2023), of 5 to 20 nodes, each exported, compiled in several ways, and held to eager PyTorch.

    run.py [--count N] [--seed FIRST] [--ways auto,torch,tune] [--jobs 2]

A result is wrong if it is further from eager than PyTorch's default tolerances for the dtype, and further than twice what eager's own
results are from the same model's in float64: chains of exponentials and differences of nearly equal numbers amplify what roundings leave. Prints "N passed, N failed";
seeds of failures go on with --seed SEED --count 1."""
import argparse
import ast
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
os.environ.setdefault("CIERGE_LIB_DIR", str(BUILD))
WAYS = {"auto": [], "torch": ["--backends", "torch"], "tune": ["--tune"]}


def generate(seed):
    """A module and its inputs; None: nothing could be generated."""
    import torch
    from nnsmith.abstract.extension import activate_ext
    from nnsmith.graph_gen import model_gen
    from nnsmith.materialize import Model
    from nnsmith.narrow_spec import auto_opset
    random.seed(seed)
    torch.manual_seed(seed)
    kind = Model.init("torch", backend_target="cpu")
    kind.add_seed_setter()
    operators = auto_opset(kind, None, vulops=False)
    activate_ext(opset=operators, factory=None)
    graph = model_gen(opset=operators, method="symbolic-cinit", seed=seed, max_elem_per_tensor=4096, max_nodes=random.randint(5, 20), timeout_ms=10000).make_concrete()
    model = kind.from_gir(graph)
    net = model.torch_model.eval()
    names = list(net.ir.input_var())
    steps, results = [(tuple(i), tuple(o)) for _, i, o, _ in net.instructions], tuple(net.output_map)
    calls = [call for call, *_ in net.instructions]

    class Positional(torch.nn.Module):
        """The net's operators, without what NNSmith looks at in between."""

        def __init__(self):
            super().__init__()
            self.net = net
            for p in net.parameters():
                p.requires_grad_(False)

        def forward(self, *x):
            values = dict(zip(names, x))
            for call, (takes, gives) in zip(calls, steps):
                y = call(*(values[i] for i in takes))
                values.update(zip(gives, y if isinstance(y, (list, tuple)) else [y]))
            return tuple(values[r] for r in results)

    module = Positional().eval()
    for _ in range(8):  # rather what has no NaN; not NNSmith's search for such, which ends by the clock
        inputs = net.get_random_inps()
        inputs = [inputs[n].detach() for n in names]
        if all(y.isfinite().all() for y in module(*[x.clone() for x in inputs])):
            break
    return module, inputs


def widened(module, inputs):
    """What the model gives in float64, which it stays in; None where it cannot be had."""
    import torch
    wide = lambda x: x.double() if x.dtype in (torch.float16, torch.float32) else x  # noqa: E731
    try:
        return module.double()(*map(wide, inputs))  # no copy: `forward` calls what it was made of
    except Exception:
        return None


def close(got, want, exact):
    import torch
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{list(got.shape)} for {want.dtype}{list(want.shape)}"
    try:
        torch.testing.assert_close(got, want, equal_nan=True)
        return None
    except AssertionError as e:
        text = str(e)
    if exact is None or exact.shape != want.shape:
        return text
    scale = exact.double().abs().clamp_min(torch.finfo(got.dtype).tiny if got.dtype.is_floating_point else 1)
    far, ours = (((y.double() - exact.double()).abs() / scale).nan_to_num(float("inf")) for y in (want, got))
    ok = (got == want) | (got.isnan() & want.isnan()) | (ours <= 2 * far.max())
    return None if ok.all() else text


def one(seed, ways, folder):
    """Yields (way, what is wrong or None) for one model."""
    import torch

    import cierge
    try:
        module, inputs = generate(seed)
        with torch.no_grad():
            want = [y.clone() for y in module(*[x.clone() for x in inputs])]  # a result may be a parameter
            exported = torch.export.export(module, tuple(inputs), strict=False)
    except Exception as e:  # NNSmith's or PyTorch's own
        yield "none", f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
        return
    path = folder / f"{seed}.pt2"
    torch.export.save(exported, path)
    exact = widened(module, inputs)
    for way in ways:
        out = folder / f"{seed}.cierge"
        r = subprocess.run([BUILD / "cierge", "compile", path, "-o", out, *WAYS[way]], capture_output=True, text=True)
        if r.returncode:
            yield way, f"refused, exit {r.returncode}: {r.stderr.strip()}"
            continue
        try:
            got = [torch.from_dlpack(x) for x in cierge.load(str(out)).context(threads=2).run(*[x.clone() for x in inputs])]
        except Exception as e:
            yield way, f"does not run: {e}"
            continue
        bad = [f"output {i}: {text}" for i, (g, w) in enumerate(zip(got, want)) if (text := close(g, w, exact[i] if exact else None))]
        yield way, "\n".join(bad) or None
        out.unlink()
    path.unlink()


def worker(first, end, step, ways):
    sys.path.insert(0, str(ROOT / "python"))
    import logging
    import warnings
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    import torch
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, end, step):
            print("BEGIN", seed, flush=True)
            for way, wrong in one(seed, ways, pathlib.Path(folder)):
                print("RESULT", seed, way, repr(wrong), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--count", type=int, default=100)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--ways", default="auto,torch,tune")
    a.add_argument("--jobs", type=int, default=2)
    a.add_argument("--worker", nargs=3, type=int, help=argparse.SUPPRESS)
    o = a.parse_args()
    ways = o.ways.split(",")
    if o.worker:
        return worker(*o.worker, ways)
    end, passed, failed, none = o.seed + o.count, 0, 0, 0
    lock = threading.Lock()

    def start(first):
        return subprocess.Popen([sys.executable, __file__, "--ways", o.ways, "--worker", str(first), str(end), str(o.jobs)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def follow(first):
        nonlocal passed, failed, none
        while first < end:
            seed = None
            p = start(first)
            for line in p.stdout:
                word, _, rest = line.partition(" ")
                if word == "BEGIN":
                    seed = int(rest)
                elif word == "RESULT":
                    _, way, wrong = rest.split(" ", 2)
                    wrong = ast.literal_eval(wrong)
                    with lock:
                        none += way == "none"
                        passed += way != "none" and wrong is None
                        failed += way != "none" and wrong is not None
                        if wrong and way != "none":
                            print(f"FAILED seed {seed}, {way}: {wrong}", flush=True)
            if p.wait() == 0:
                return
            with lock:
                failed += 1
                print(f"FAILED seed {seed}: the process ended with {p.returncode}", flush=True)
            first = seed + o.jobs if seed is not None else end

    jobs = [threading.Thread(target=follow, args=(o.seed + i,)) for i in range(o.jobs)]
    for t in jobs:
        t.start()
    for t in jobs:
        t.join()
    print(f"{o.count - none} models, {none} that NNSmith or PyTorch's export could not make")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
