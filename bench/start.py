"""From the start of a process to its first result, and the memory that the process takes: files in the page cache, nothing compiled.

cierge is measured as the C program start.c and from Python, the others from Python, which they are mostly used from: what Python and
NumPy take themselves is a row of its own. As a program:
    start.py ENGINE FOLDER THREADS CALLS
loads what worker.py left in FOLDER, calls it, prints [monotonic clock at the first result, median of the later calls in ms, VmHWM in kB]."""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve()
CALLS, REPEATS = 5, 3
C = {"cierge, C": "0", "cierge, C, lazy": "1"}
ENGINES = (*C, "cierge, Python", "onnxruntime", "openvino", "torchscript", "Python and NumPy")
FILES = {**dict.fromkeys(C, "cierge.cierge"), "cierge, Python": "cierge.cierge", "onnxruntime": "model.onnx", "openvino": "model.onnx", "torchscript": "torchscript.pt"}


def load(engine, path, threads, inputs):
    """A function that calls the model."""
    if engine == "cierge, Python":
        sys.path.insert(0, str(ROOT / "python"))
        os.environ["CIERGE_LIB_DIR"] = str(BUILD)
        import cierge
        context = cierge.load(path).context(threads)
        return lambda: context.run(*inputs, borrow=True)
    if engine == "onnxruntime":
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = dict(zip([i.name for i in session.get_inputs()], inputs))
        return lambda: session.run(None, feed)
    if engine == "openvino":
        import openvino as ov
        core = ov.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
                                                                     "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
        request = compiled.create_infer_request()
        return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)
    if engine == "torchscript":
        import torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        model = torch.jit.optimize_for_inference(torch.jit.load(path).eval())
        tensors = [torch.from_numpy(x) for x in inputs]
        return lambda: model(*tensors)
    return lambda: inputs


def program(engine, folder, threads, calls):
    import numpy as np
    inputs = [np.fromfile(f"{folder}/input_{i}.bin", dtype).reshape(shape) for i, (dtype, shape) in enumerate(json.load(open(f"{folder}/inputs.json")))]
    call = load(engine, f"{folder}/{FILES.get(engine)}", int(threads), inputs)
    call()
    first, times = time.monotonic(), []
    for _ in range(int(calls)):
        t = time.perf_counter()
        call()
        times.append((time.perf_counter() - t) * 1e3)
    held = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([first, sorted(times)[len(times) // 2], held]))


def command(engine, folder, threads):
    if engine in C:
        inputs = [f"{folder}/input_{i}.bin" for i in range(len(json.load(open(f"{folder}/inputs.json"))))]
        return [f"{folder}/start", f"{folder}/{FILES[engine]}", str(threads), str(CALLS), C[engine], *inputs]
    from rounds import PYTHON
    return [PYTHON, __file__, engine, folder, str(threads), str(CALLS)]


def planned(folder):
    """What `cierge inspect` says of the artifact's memory, in bytes."""
    text = subprocess.run([BUILD / "cierge", "inspect", f"{folder}/cierge.cierge"], check=True, capture_output=True, text=True).stdout
    weights, arena, bound = map(int, re.search(r"weights: (\d+) bytes\n  arena: (\d+) bytes, at least (\d+)", text).groups())
    return {"weights": weights, "arena": arena, "bound": bound}


def measure(folder, threads):
    """By engine: ms to the first result less the median call, that call, the process's memory, in rounds round all of them."""
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-D_GNU_SOURCE", f"-I{ROOT}/include", HERE / "start.c", "-o", f"{folder}/start", f"-L{BUILD}",
                    "-lcierge_rt", f"-Wl,-rpath,{BUILD}"], check=True)
    found = {}
    for r in range(REPEATS + 1):  # the first round warms the page cache
        for engine in ENGINES:
            if engine in FILES and not pathlib.Path(folder, FILES[engine]).exists():
                continue
            begun = time.monotonic()
            p = subprocess.run(command(engine, folder, threads), capture_output=True, text=True)
            if p.returncode:
                continue
            first, call, held = json.loads(p.stdout.splitlines()[-1])
            if r:
                found.setdefault(engine, []).append(((first - begun) * 1e3 - call, call, held))
    by_engine = {e: {"start_ms": [round(x[0], 2) for x in rows], "call_ms": statistics.median(x[1] for x in rows), "held_kb": max(x[2] for x in rows)} for e, rows in found.items()}
    return {**by_engine, "planned": planned(folder)}


if __name__ == "__main__":
    program(*sys.argv[1:])
