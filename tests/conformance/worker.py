"""Runs cases one after the other, one JSON line each on stdout: {"case", "dialect", "result", "detail", "native"}.

A line {"start": …} goes before each, so that whoever reads knows which case a crash belongs to.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "python"), str(HERE)]
BUILD = pathlib.Path(os.environ.get("BUILD", HERE.parents[1] / "build"))
import cases  # noqa: E402
import cierge  # noqa: E402
import judge  # noqa: E402

OPTIONS = {"auto": {}, "mixed": {"no_cost_drop": True}, "native": {"require_native": True}, "torch": {"backends": "torch"}, "v3": {"target": "x86-64-v3"}, "v2": {"target": "x86-64-v2"}}


def outputs(context):
    n = len(context.program.outputs)
    return [None if t is None else torch.from_dlpack(t) for t in (context.output(i) for i in range(n))]


def set_inputs(context, inputs):
    copies = [x.clone(memory_format=torch.preserve_format).resolve_conj().resolve_neg() for x in inputs]
    tensors = iter(copies)
    for i, spec in enumerate(context.program.inputs):
        if spec.constant is None:
            context.set_input(i, next(tensors))
    return copies


def after_call(context, copies):
    """The inputs as the caller finds them after the call."""
    after = iter(copies)
    found = {i: next(after) for i, spec in enumerate(context.program.inputs) if spec.constant is None}
    found.update((i, torch.from_dlpack(context.mutated(k))) for k, i in enumerate(context.program.mutated))
    return list(found.values())


def warm(context, inputs, calls):
    """Calls before the one that is judged: the first with its inputs, the others with their elements in another order."""
    for k in range(calls):
        others = inputs if not k else [x.flatten().flip(0).reshape(x.shape) if x.layout == torch.strided else x for x in inputs]
        try:
            set_inputs(context, others)
            context.call()
            outputs(context)
        except cierge.Error:
            pass
        context.reset()


def run(artifact, record, want, a):
    program = cierge.load(artifact)
    context = program.context(threads=a.threads)
    warm(context, record["inputs"], a.calls - 1)
    context.seed(0)
    copies = set_inputs(context, record["inputs"])
    context.call()
    got = outputs(context)
    if len(got) != len(want["out"]):
        return f"{len(got)} outputs, PyTorch gives {len(want['out'])}"
    return compare(got, after_call(context, copies), record, want)


# ---------------------------------------------------------------- a fixed tenth goes through the command line

def by_command_line(case):
    return zlib.crc32(case.encode()) % 10 == 0


def command(*args):
    r = subprocess.run([BUILD / "cierge", *map(str, args)], capture_output=True, text=True, errors="replace", timeout=60)
    if r.returncode:
        e = cierge.Error(r.stderr.removeprefix("cierge: ").strip() or f"ended with {r.returncode}", 0, r.returncode)
        if r.returncode < 0:
            e.exit_code = 1
        raise e


RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32}  # bits of dtypes that NumPy lacks
BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}


def save_arrays(path, tensors):
    arrays, names = {}, {}
    for name, t in tensors.items():
        t = t.contiguous()
        try:
            arrays[name] = t.numpy()
        except TypeError:
            arrays[name], names[name] = t.view(BITS[t.element_size()]).numpy(), str(t.dtype)[6:]
    if names:
        arrays["__cierge_dtypes__"] = np.array(json.dumps(names))
    np.savez(path, **arrays)


def load_arrays(path):
    with np.load(path) as z:
        names = json.loads(str(z["__cierge_dtypes__"])) if "__cierge_dtypes__" in z else {}
        return {k: torch.from_numpy(z[k]).view(getattr(torch, names[k])) if k in names else torch.from_numpy(z[k])
                for k in z.files if k != "__cierge_dtypes__"}


def run_command(artifact, scratch, record, want, a):
    copies = [x.clone(memory_format=torch.preserve_format).resolve_conj().resolve_neg() for x in record["inputs"]]
    names = [s.name for s in cierge.load(artifact).inputs if s.constant is None]
    save_arrays(os.path.join(scratch, "in.npz"), dict(zip(names, copies)))
    command("run", artifact, "--inputs", os.path.join(scratch, "in.npz"), "--outputs", os.path.join(scratch, "out.npz"), "--seed", 0, "--threads", a.threads)
    arrays = load_arrays(os.path.join(scratch, "out.npz"))
    got = [arrays.get(f"output_{i}") for i in range(len(want["out"]))]
    if any(k.startswith("output_") and int(k[7:]) >= len(got) for k in arrays):
        return "more outputs than PyTorch gives"
    after = [arrays.get(f"mutated_{n}", x) for n, x in zip(names, copies)]
    return compare(got, after, record, want)


def compare(got, copies, record, want):
    values = record["case"].split("/")[0].split(".")[0] not in cases.UNINITIALISED
    wide = record["wide"] if record["wide"] and len(record["wide"]) == len(got) else [None] * len(got)
    for i, (g, w, x) in enumerate(zip(got, want["out"], wide)):
        if (d := judge.difference(g, w, x, values)):
            return f"output_{i}: {d}"
    for i, (g, w) in enumerate(zip(copies, want["mutated"])):
        wide = (record.get("wide_mutated") or [None] * len(copies))[i]
        if values and (d := judge.difference(g, w.resolve_conj().resolve_neg(), wide)):
            return f"input_{i} after the call: {d}"
    return None


WORDS = {torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", torch.bool: "bool", torch.uint8: "u8", torch.int8: "i8",
         torch.int16: "i16", torch.int32: "i32", torch.int64: "i64", torch.uint16: "u16", torch.uint32: "u32", torch.uint64: "u64", torch.complex32: "c32",
         torch.complex64: "c64", torch.complex128: "c128", torch.float8_e4m3fn: "f8e4m3fn", torch.float8_e5m2: "f8e5m2", torch.float8_e4m3fnuz: "f8e4m3fnuz",
         torch.float8_e5m2fnuz: "f8e5m2fnuz"}


def one(folder, dialect, chosen, a, case, scratch):
    record = torch.load(folder / ("s-io.pt" if dialect == "s" else "io.pt"), weights_only=False)
    record["case"] = case
    want = record[dialect]
    model = folder / (f"{dialect}.pt" if dialect == "s" else f"{dialect}.pt2")
    if dialect == "s":
        chosen = {**chosen, "input": [f"{n}={WORDS[x.dtype]}{list(x.shape)}" for n, x in zip(record["names"], record["inputs"])]}
    artifact = os.path.join(scratch, "case.cierge")
    native = None
    try:
        report = os.path.join(scratch, "report.json")
        execute = lambda w: run(artifact, record, w, a)  # noqa: E731
        if a.tune or by_command_line(case):
            options = [x for k, v in chosen.items() for w in (v if isinstance(v, list) else [v]) for x in (f"--{k.replace('_', '-')}", *([] if w is True else [w]))]
            command("compile", model, "-o", artifact, "--report", report, *options, *["--tune"] * a.tune)
            execute = lambda w: run_command(artifact, scratch, record, w, a)  # noqa: E731
        else:
            cierge.compile(model, output=artifact, report=report, **chosen)
        native = json.load(open(report))["nodes"]["torch"] == 0
        if want["error"]:
            try:
                execute({"out": [], "mutated": []})
            except cierge.Error as e:
                return ("passed", str(e), native) if e.exit_code == 3 else ("wrong", f"PyTorch raises; here: {e}", native)
            return "wrong", f"PyTorch raises {want['error']}", native
        bad = execute(want)
        return ("wrong", bad, native) if bad else ("passed", "", native)
    except cierge.Error as e:
        if want["error"] and e.exit_code == 3:
            return "passed", str(e), native
        return ("crashed" if e.exit_code == 1 else "refused"), str(e).splitlines()[0][:300], native


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mode", default="auto")
    p.add_argument("--torch-mode", default="auto")
    p.add_argument("--calls", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--tune", action="store_true")
    p.add_argument("--dialects", default="tf")
    p.add_argument("--cache", required=True)
    a = p.parse_args()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no result
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            case = line.strip()
            out.write(json.dumps({"start": case, "dialect": "prepare"}) + "\n")
            folder, status = cases.prepare(case, a.cache, a.dialects)
            for dialect in a.dialects:
                if status[dialect] != "ok":
                    out.write(json.dumps({"case": case, "dialect": dialect, "result": "none" if status[dialect] == "none" else "not exported", "detail": status[dialect], "native": None}) + "\n")
                    continue
                out.write(json.dumps({"start": case, "dialect": dialect}) + "\n")
                try:
                    result, detail, native = one(folder, dialect, {**OPTIONS[a.mode], "torch_mode": a.torch_mode}, a, case, scratch)
                except Exception as e:  # of this harness or of the Python package
                    result, detail, native = "crashed", f"{type(e).__name__}: {e}"[:300], None
                for place in (scratch, str(folder), str(HERE)):  # the result file names no folder of this machine
                    detail = detail.replace(place + "/", "")
                out.write(json.dumps({"case": case, "dialect": dialect, "result": result, "detail": detail, "native": native}) + "\n")
            out.write(json.dumps({"done": case}) + "\n")


if __name__ == "__main__":
    main()
