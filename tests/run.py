"""Runs the tests, two at a time: `run.py fast` for every change (under 3 minutes), `full` for everything. Ends with "N passed, N failed".

A step is a program, or a Python file. Those run in forks of this process, which has imported PyTorch once for all of them: each would spend 6 s on it.
A step counts with its own "N passed, N failed" line if it prints one; one that was killed has not passed. VERBOSE=1 shows what they print."""
import atexit
import faulthandler
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = 2
CONFORMANCE = "tests/conformance/run.py"
# Minutes each, and begun first, so that the last step to end is a short one.
LONGEST = ["sanitizers", "conformance", "conformance, whatever is native kept", "conformance, every other dtype", "slow_rows", "slow_conv", "slow_random_graphs", "fuzz",
           "slow_pairs", "slow_random_layers", "slow_transformers", "slow_precision", "slow_row_sizes", "conformance, all in LibTorch, several calls", "minilm", "golden"]


def steps(full):
    """(name, program and arguments)"""
    unit = sorted(p.stem for p in (ROOT / "tests/unit").glob("test_*.c"))
    python = lambda glob: [(p.stem, [f"tests/python/{p.name}"]) for p in sorted((ROOT / "tests/python").glob(glob))]  # noqa: E731
    yield from ((name, [f"build/tests/{name}"]) for name in unit)
    yield "golden", ["tests/golden/run.py"]
    yield "layers", ["tools/check-layers.py"]
    yield from python("test_*.py")
    if not full:
        yield "conformance", [CONFORMANCE, "--every", "40"]
        return
    yield from python("slow_*.py")
    yield "conformance", [CONFORMANCE, "--every", "8"]
    yield "conformance, whatever is native kept", [CONFORMANCE, "--every", "8", "--mode", "mixed"]
    yield "conformance, every other dtype", [CONFORMANCE, "--dtypes", "others", "--every", "24"]
    yield "conformance, all in LibTorch, several calls", [CONFORMANCE, "--every", "8", "--mode", "torch", "--torch-mode", "ops", "--calls", "3"]
    yield "minilm", ["tests/minilm.py"]
    yield "fuzz", ["tests/fuzz/run.sh", "20"]
    yield "sanitizers", ["tests/sanitizers.sh", "1"]


def build(full):
    custom_ops = ["build/examples/libmyops.so", "build/examples/custom_op", "build/tests/libtestops.so"] if full else []  # a minute; two tests use them
    return subprocess.run(["make", "-s", "--no-print-directory", "-j2", "all", "examples", "unit", *custom_ops, "WERROR=1"]).returncode == 0


def imports():
    """What most Python tests import first, and export with."""
    import torch
    import torch._dynamo
    import torch._inductor
    import torch.export._trace
    import torch.export.passes  # noqa: F401
    torch.export.default_decompositions()


def start(command, log):
    """The process that runs a step."""
    if not command[0].endswith(".py"):
        return os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), fd) for fd in (1, 2)])
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable()
    sys.argv, sys.path[0], code = command, str((ROOT / command[0]).parent), 0
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(name, log, began, code):
    """Says what came of a step: (passed, failed)."""
    log.seek(0)
    text = log.read()
    counts = re.findall(r"(\d+) passed, (\d+) failed", text)
    if counts:
        passed, failed = map(int, counts[-1])
    elif "[==========]" in text:  # cmocka
        passed, failed = len(re.findall(r"\[       OK \]", text)), len(re.findall(r"^\[  FAILED  \] [a-z_]*$", text, re.M))
    else:
        passed, failed = int(code == 0), int(code != 0)
    if code and not failed:
        failed = 1
    print(f"{name}: {passed} passed, {failed} failed ({time.monotonic() - began:.0f} s)", flush=True)
    if failed or os.environ.get("VERBOSE"):
        print("\n".join(text.splitlines()[-60:]), flush=True)
    return passed, failed


def main():
    full = sys.argv[1:] != ["fast"]
    os.chdir(ROOT)
    if not build(full):
        print("the build failed\n0 passed, 1 failed")
        return 1
    imports()
    place = {name: i for i, name in enumerate(LONGEST)}
    waiting, running, passed, failed = sorted(steps(full), key=lambda step: place.get(step[0], len(place))), {}, 0, 0
    while waiting or running:
        while waiting and len(running) < JOBS:
            name, command = waiting.pop(0)
            log = tempfile.TemporaryFile("w+", errors="replace")
            running[start(command, log)] = name, log, time.monotonic()
        pid, status = os.wait()
        if pid in running:
            p, f = ended(*running.pop(pid), os.waitstatus_to_exitcode(status))
            passed, failed = passed + p, failed + f
    print(f"{passed} passed, {failed} failed")
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
