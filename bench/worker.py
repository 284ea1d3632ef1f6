"""One engine with one model, in a process of its own: makes itself ready, then does rounds as it is told.

    worker.py ENGINE MODEL THREADS FOLDER
What an engine compiles into files lies in FOLDER and is kept for a second worker. The first line printed is JSON: {"compile_s": from the
module in Python to the first result, "bytes": of those files, "version": …} or {"error": …}. Then lines are read from stdin:
"run N" does N calls and answers with their milliseconds, "result" writes the last outputs to FOLDER/ENGINE.npz, the end ends it."""
import importlib.metadata
import json
import os
import pathlib
import sys
import time

engine, name, threads, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["CIERGE_CACHE"] = str(folder / "inductor"), str(folder / "kernels")  # nothing is there yet
out, sys.stdout = sys.stdout, sys.stderr  # what engines print is no answer

import warnings

warnings.filterwarnings("ignore")
import numpy as np
import torch

import models

torch.set_num_threads(threads)
torch.set_grad_enabled(False)
files, earlier = [], 0.0


def made(file, make):
    """The path of a file, made where it is not there yet; how long that took then counts now as well."""
    global earlier
    path, note = folder / file, folder / f"{file}.seconds"
    if note.exists():
        earlier += float(note.read_text())
    else:
        start = time.perf_counter()
        make(path)
        note.write_text(str(time.perf_counter() - start))
    files.extend(p for p in (path, folder / f"{file}.data") if p.exists())
    return path


def flat(value):
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)]


def eager(model, inputs):
    return lambda: model(*inputs), "torch"


def torchscript(model, inputs):
    traced = torch.jit.load(made("torchscript.pt", lambda p: torch.jit.save(torch.jit.freeze(torch.jit.trace(model, inputs, check_trace=False)), str(p))))
    traced = torch.jit.optimize_for_inference(traced.eval())
    return lambda: traced(*inputs), "torch"


def inductor(model, inputs):
    import torch._inductor.config as config
    config.freezing, config.cpp.threads = True, threads
    compiled = torch.compile(model, dynamic=False)
    return lambda: compiled(*inputs), "torch"


def aoti(model, inputs):
    import torch._inductor.config as config
    config.freezing, config.cpp.threads = True, threads
    package = made(f"aoti{threads}.pt2", lambda p: torch._inductor.aoti_compile_and_package(torch.export.export(model, inputs), package_path=str(p)))
    loaded = torch._inductor.aoti_load_package(str(package))
    return lambda: loaded(*inputs), "torch"


def onnx_file(model, inputs):
    return made("model.onnx", lambda p: torch.onnx.export(model, inputs, str(p), dynamo=True, external_data=True, verbose=False))


def onnxruntime(model, inputs):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(onnx_file(model, inputs), options, providers=["CPUExecutionProvider"])
    feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, feed), "onnxruntime"


def openvino(model, inputs):
    import openvino as ov
    core = ov.Core()
    compiled = core.compile_model(core.read_model(onnx_file(model, inputs)), "CPU",
                                  {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    feed = [x.numpy() for x in inputs]

    def run():
        found = request.infer(feed, share_inputs=True, share_outputs=True)
        return [found[o] for o in compiled.outputs]
    return run, "openvino"


def iree(model, inputs):
    import iree.runtime as rt

    def make(path):
        from iree.turbine import aot
        exported = aot.export(torch.export.export(model, inputs))
        exported.session.set_flags("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3")
        exported.compile(save_to=str(path), target_backends=["llvm-cpu"])
    rt.flags.parse_flags(f"--task_topology_max_group_count={threads}")
    config = rt.Config("local-sync" if threads == 1 else "local-task")
    module = rt.load_vm_module(rt.VmModule.mmap(config.vm_instance, str(made("iree.vmfb", make))), config)
    feed = [rt.asdevicearray(config.device, x.numpy()) for x in inputs]

    def run():
        found = module.main(*feed)
        return [t.to_host() for t in (found if isinstance(found, (tuple, list)) else [found])]
    return run, "iree-base-compiler"


def cierge(model, inputs, *options):
    import subprocess
    root = pathlib.Path(__file__).resolve().parents[1]
    build = pathlib.Path(os.environ.get("BUILD", root / "build"))
    os.environ["CIERGE_LIB_DIR"] = str(build)
    sys.path.insert(0, str(root / "python"))
    import cierge

    def make(path):
        torch.export.save(torch.export.export(model, inputs), path.with_suffix(".pt2"))
        subprocess.run([build / "cierge", "compile", path.with_suffix(".pt2"), "-o", path, *options], check=True, stdout=sys.stderr)
    program = cierge.load(made(f"{engine}.cierge", make))
    context = program.context(threads)
    for i, x in enumerate(inputs):
        context.set_input(i, x)

    def run():  # inputs and outputs where they lie, as OpenVINO shares them
        context.call()
        return [np.from_dlpack(context.borrow(i)) for i in range(len(program.outputs))]
    return run, None


def cierge_torch(model, inputs):
    return cierge(model, inputs, "--backends", "torch")


def version_of(package):
    if package:
        return importlib.metadata.version(package)
    header = pathlib.Path(__file__).resolve().parents[1] / "include/cierge/cierge.h"
    return header.read_text().split('CIERGE_VERSION "')[1].split('"')[0]


def answer(value):
    print(json.dumps(value), file=out, flush=True)


try:
    model, inputs = models.build(name)
    started = time.perf_counter()
    run, package = globals()[engine](model, inputs)
    result = run()
    spent = time.perf_counter() - started + earlier
    for _ in range(2):
        result = run()
    answer({"compile_s": spent, "bytes": sum(p.stat().st_size for p in files), "version": version_of(package)})
except Exception as e:  # an engine that cannot do a model is a dash in the table
    answer({"error": f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:300]})
    sys.exit(0)
for line in sys.stdin:
    words = line.split()
    if words[0] == "run":
        times = []
        for _ in range(int(words[1])):
            t = time.perf_counter()
            result = run()
            times.append((time.perf_counter() - t) * 1e3)
        answer(times)
    else:
        np.savez(folder / f"{engine}.npz", *flat(result))
        answer("written")
