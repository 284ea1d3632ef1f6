"""What LibTorch's regions cost: `python bench/torch_regions.py` prints the ratios.

    models   a whole model in one region, beside eager PyTorch and frozen TorchScript (torch.jit.trace, torch.jit.freeze)
    chains   200 operators (add, mul, relu, tanh) on tensors of 1, 32x64 and 512x512 elements in one region called op by op
    call     a call through the C API into a region of one addition, beside the same boxed call (bench/torch_call.cpp)
    first    the first five calls of each mode
    passes   what PyTorch's own graph passes, which cierge does not use, gain over eager (doc/overhead.md)

All that is compared runs in one process, in rounds that go round everything in turn; a ratio is the median of the rounds'
ratios, with the 95 % interval of that median from the rounds' order. One thread unless --threads says otherwise."""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "examples" / "minilm"), str(ROOT / "bench")]
os.environ.setdefault("CIERGE_LIB_DIR", str(ROOT / "build"))
warnings.filterwarnings("ignore")

import cierge  # noqa: E402
import stats  # noqa: E402
import torch  # noqa: E402

FOLDER = tempfile.TemporaryDirectory()


def rounds(functions, n, count, clock=time.perf_counter):
    """Seconds per call, [round] by name."""
    times = {name: [] for name in functions}
    for f in functions.values():
        f(), f()
    for _ in range(count):
        for name, f in functions.items():
            start = clock()
            for _ in range(n):
                f()
            times[name].append((clock() - start) / n)
    return times


def ratio(times, name, *others):
    return stats.ratio(times[name], [min(o) for o in zip(*(times[o] for o in others))])


def program(model, inputs, mode, threads, name):
    path = pathlib.Path(FOLDER.name) / f"{name}.pt2"
    if not path.exists():
        torch.export.save(torch.export.export(model, inputs, strict=False), path)
    out = path.with_suffix(f".{mode}.cierge")
    cierge.compile(path, output=out, backends="torch", torch_mode=mode)
    context = cierge.load(out).context(threads=threads)
    for i, x in enumerate(inputs):
        context.set_input(i, x)
    return context


def frozen(model, inputs):
    f = torch.jit.freeze(torch.jit.trace(model, inputs).eval())
    for _ in range(5):
        f(*inputs)
    return f


def calls_for(f, seconds=0.03):
    start = time.perf_counter()
    f()
    return max(1, int(seconds / (time.perf_counter() - start)))


# ---------------------------------------------------------------- models and chains

def minilm():
    import model
    encoder = model.load()
    inputs = torch.randint(0, 30000, (1, 64)), torch.ones(1, 64, dtype=torch.int64)
    return torch.export.export(encoder, inputs, strict=False).module(), inputs


def resnet():
    from models import ResNet
    torch.manual_seed(0)
    return ResNet((2, 2, 2, 2)).eval(), (torch.rand(1, 3, 224, 224),)


def tiny():
    from models import build
    return build("tiny")


class Chain(torch.nn.Module):
    def forward(self, x, y):
        for _ in range(50):
            x = torch.tanh(torch.relu((x + y) * 0.5))
        return x


def compare(name, model, inputs, modes, a):
    contexts = {m: program(model, inputs, m, a.threads, name) for m in modes}
    want = model(*inputs)
    for c in contexts.values():
        for _ in range(3):
            c.call()
        torch.testing.assert_close(torch.from_dlpack(c.output(0)), want, atol=1e-4, rtol=1e-3)
    ts = frozen(model, inputs)
    functions = {m: c.call for m, c in contexts.items()}
    functions |= {"eager": lambda: model(*inputs), "torchscript": lambda: ts(*inputs)}
    return rounds(functions, calls_for(functions[modes[0]]), a.rounds)


def show(name, times, pairs):
    print(f"{name}: " + ", ".join(f"{k} {statistics.median(v) * 1e6:.1f} us" for k, v in times.items()))
    for what, others, limit in pairs:
        m, lo, hi = ratio(times, what, *others)
        print(f"    {what} / {' or '.join(others)}: {m:.3f}  [{lo:.3f}, {hi:.3f}]  limit {limit}: {'met' if lo <= limit else 'MISSED'}", flush=True)


def models(a):
    for name, make in (("minilm 1x64", minilm), ("resnet18 1x3x224x224", resnet), ("200 tiny operators", tiny)):
        times = compare(name.split()[0], *make(), ("ops", "script"), a)
        show(name, times, [("ops", ("eager", "torchscript"), 1.0)])


def chains(a):
    for size, limit in (((1,), 0.8), ((32, 64), 0.8), ((512, 512), 1.0)):
        name = "x".join(map(str, size))
        times = compare(f"chain{name}", Chain(), (torch.rand(size), torch.rand(size)), ("ops", "script"), a)
        show(f"200 operators on {name}", times, [("ops", ("torchscript",), limit)])


# ---------------------------------------------------------------- one call

class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y


def call(a):
    torch_dir, lib = pathlib.Path(torch.__file__).parent, pathlib.Path(os.environ["CIERGE_LIB_DIR"])
    exe = pathlib.Path(FOLDER.name) / "torch_call"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O2", f"-I{ROOT / 'include'}", "-isystem", torch_dir / "include", ROOT / "bench/torch_call.cpp",
                    "-o", exe, f"-L{torch_dir / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch_dir / 'lib'}", f"-L{lib}", "-lcierge_rt",
                    f"-Wl,-rpath,{lib}"], check=True)
    for size in ((1,), (32, 64), (512, 512)):
        program(Add(), (torch.rand(size), torch.rand(size)), "ops", 1, "add" + "x".join(map(str, size)))
        artifact = pathlib.Path(FOLDER.name) / f"add{'x'.join(map(str, size))}.ops.cierge"
        print(subprocess.run([exe, artifact, *map(str, size)], check=True, capture_output=True, text=True).stdout, end="", flush=True)


def first(a):
    for name, make in (("minilm", minilm), ("resnet18", resnet), ("tiny", tiny)):
        model, inputs = make()
        for mode in ("ops", "script"):
            context, ms = program(model, inputs, mode, a.threads, name), []
            for _ in range(30):
                start = time.perf_counter()
                context.call()
                ms.append((time.perf_counter() - start) * 1e3)
            print(f"{name} {mode}: calls 1 to 5 " + " ".join(f"{t:.2f}" for t in ms[:5]) + f" ms, median of the others {statistics.median(ms[5:]):.2f} ms")


# ---------------------------------------------------------------- PyTorch's graph passes

class Linears(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(k, k) for _ in range(8))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class Convolutions(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(6))
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(c) for _ in range(6))

    def forward(self, x):
        for layer, norm in zip(self.layers, self.norms):
            x = torch.relu(norm(layer(x)))
        return x


def optimised(model, x):
    """Functions by name: eager, and TorchScript after more and more passes."""
    def traced(*passes, numerics=True):
        f = torch.jit.freeze(torch.jit.trace(model, x).eval(), optimize_numerics=numerics)
        for change in passes:
            change(f.graph)
        for _ in range(4):  # the profiling executor compiles in the first ones
            f(*x)
        return lambda: f(*x)
    mkldnn, transpose = torch._C._jit_pass_convert_frozen_ops_to_mkldnn, torch._C._jit_pass_transpose_frozen_linear
    out = {"eager": lambda: model(*x), "frozen": traced(numerics=False), "numerics": traced(), "mkldnn": traced(mkldnn), "transposed": traced(transpose)}
    torch.jit.enable_onednn_fusion(True)
    try:
        out["onednn fusion"] = traced()
    finally:
        torch.jit.enable_onednn_fusion(False)
    return out


def passes(a):
    """In CPU time, of which other work on the machine takes little: the least of the rounds."""
    cases = [("ResNet-18, 224x224", *resnet()), ("6 convolutions, 64x28x28", Convolutions(64).eval(), (torch.rand(1, 64, 28, 28),)),
             ("6 convolutions, 256x7x7", Convolutions(256).eval(), (torch.rand(1, 256, 7, 7),))]
    cases += [(f"8 linear {k}, {rows} rows", Linears(k).eval(), (torch.rand(rows, k),)) for k, rows in ((384, 1), (384, 64), (1024, 1))]
    cases += [("200 operators, 32x64", Chain(), (torch.rand(32, 64), torch.rand(32, 64)))]
    for name, model, x in cases:
        functions = optimised(model, x)
        best = {k: min(v) for k, v in rounds(functions, calls_for(functions["eager"], 0.01), a.rounds, time.thread_time).items()}
        print(f"| {name} | " + " | ".join(f"{t / best['eager']:.2f}" for k, t in best.items() if k != "eager") + " |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="*", default=["models", "chains", "call", "first"])
    p.add_argument("--rounds", type=int, default=31)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    with torch.no_grad():
        for what in a.what:
            {"models": models, "chains": chains, "call": call, "first": first, "passes": passes}[what](a)
    print("load average " + " ".join(f"{x:.1f}" for x in os.getloadavg()) + f" on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
