"""One engine with one model, in a process of its own: makes itself ready, then does rounds as it is told.

    worker.py ENGINE MODEL THREADS FOLDER
Reads lines from stdin: "run N" does N calls and answers with a JSON list of milliseconds; "result" writes the outputs to
FOLDER/ENGINE.npz; an empty line or the end ends it. The first line it prints is JSON: {"ready": seconds, "version": …} or {"error": …}."""
import json
import os
import sys
import time

engine, name, threads, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
out, sys.stdout = sys.stdout, sys.stderr  # what engines print is no answer
started = time.perf_counter()

import warnings

warnings.filterwarnings("ignore")
import numpy as np
import torch

import models

torch.set_num_threads(threads)
torch.set_grad_enabled(False)


def flat(value):
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)]


def eager(model, inputs):
    return lambda: model(*inputs), torch.__version__


def torchscript(model, inputs):
    traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, inputs, check_trace=False)))
    return lambda: traced(*inputs), torch.__version__


def inductor(model, inputs):
    import torch._inductor.config as config
    config.freezing, config.cpp.threads = True, threads
    compiled = torch.compile(model, dynamic=False)
    return lambda: compiled(*inputs), torch.__version__


def aoti(model, inputs):
    import torch._inductor.config as config
    config.freezing, config.cpp.threads = True, threads
    package = torch._inductor.aoti_compile_and_package(torch.export.export(model, inputs), package_path=f"{folder}/aoti.pt2")
    loaded = torch._inductor.aoti_load_package(package)
    return lambda: loaded(*inputs), torch.__version__


def onnx_file(model, inputs):
    path = f"{folder}/model.onnx"
    torch.onnx.export(model, inputs, path, dynamo=True, external_data=True, verbose=False)
    return path


def onnxruntime(model, inputs):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(onnx_file(model, inputs), options, providers=["CPUExecutionProvider"])
    feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs)}
    return lambda: session.run(None, feed), ort.__version__


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
    return run, ov.__version__.split("-")[0]


def iree(model, inputs):
    import iree.compiler
    import iree.runtime as rt
    from iree.turbine import aot
    exported = aot.export(torch.export.export(model, inputs))
    exported.session.set_flags("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3")
    rt.flags.parse_flags(f"--task_topology_max_group_count={threads}")
    config = rt.Config("local-sync" if threads == 1 else "local-task")
    module = rt.load_vm_module(rt.VmModule.copy_buffer(config.vm_instance, exported.compile(save_to=None, target_backends=["llvm-cpu"]).map_memory()), config)
    feed = [rt.asdevicearray(config.device, x.numpy()) for x in inputs]

    def run():
        found = module.main(*feed)
        return [t.to_host() for t in (found if isinstance(found, (tuple, list)) else [found])]
    return run, iree.compiler.version.VERSION


def cierge_program(model, inputs, *options):
    import pathlib
    import subprocess
    root = pathlib.Path(__file__).resolve().parents[1]
    build = pathlib.Path(os.environ.get("BUILD", root / "build"))
    os.environ["CIERGE_LIB_DIR"] = str(build)
    sys.path.insert(0, str(root / "python"))
    import cierge
    torch.export.save(torch.export.export(model, inputs), f"{folder}/model.pt2")
    subprocess.run([build / "cierge", "compile", f"{folder}/model.pt2", "-o", f"{folder}/model.cierge", *options], check=True, stdout=sys.stderr)
    program = cierge.load(f"{folder}/model.cierge")
    context = program.context(threads)
    for i, x in enumerate(inputs):
        context.set_input(i, x)

    def run():  # inputs and outputs where they lie, as OpenVINO shares them
        context.call()
        return [np.from_dlpack(context.borrow(i)) for i in range(len(program.outputs))]
    return run, "cierge"


def cierge(model, inputs):
    return cierge_program(model, inputs)


def cierge_torch(model, inputs):
    return cierge_program(model, inputs, "--backends", "torch")


def answer(value):
    print(json.dumps(value), file=out, flush=True)


try:
    model, inputs = models.build(name)
    run, version = globals()[engine](model, inputs)
    for _ in range(3):
        result = run()
except Exception as e:  # an engine that cannot do a model is a line of the table
    answer({"error": f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:300]})
    sys.exit(0)
answer({"ready": time.perf_counter() - started, "version": version})
for line in sys.stdin:
    words = line.split()
    if not words:
        break
    if words[0] == "run":
        times = []
        for _ in range(int(words[1])):
            t = time.perf_counter()
            result = run()
            times.append((time.perf_counter() - t) * 1e3)
        answer(times)
    else:
        np.savez(f"{folder}/{engine}.npz", *flat(result))
        answer("written")
