"""What the Python tests share: exporting, compiling, running through the CLI or the API, and a plain test runner."""
import ctypes
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import traceback
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
for folder in ("python", "tests/models", "tests/conformance", "examples/minilm"):
    sys.path.insert(0, str(ROOT / folder))
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402

CIERGE = BUILD / "cierge"
_cpu = open("/proc/cpuinfo").read()
VNNI, BF16, AMX = "avx512_vnni" in _cpu, "avx512_bf16" in _cpu, "amx_bf16" in _cpu
TARGETS = ["x86-64-v2", "x86-64-v3"] + ["x86-64-v4"] * ("avx512vl" in _cpu)  # that run here
if "ASAN_OPTIONS" in os.environ:
    os.environ["ASAN_OPTIONS"] += ":detect_leaks=1"  # of what is started from here; Python itself frees little at its end
_scratch = tempfile.TemporaryDirectory()
SCRATCH = pathlib.Path(_scratch.name)


def module(f):
    """A function as a module."""
    class M(torch.nn.Module):
        def forward(self, *x):
            return f(*x)
    return M()


def export(model, inputs, name, dynamic=None, functional=False):
    """Saves the program and gives its path."""
    path = SCRATCH / f"{name}{'-f' if functional else ''}.pt2"
    with torch.no_grad():
        program = torch.export.export(model.eval(), inputs, dynamic_shapes=dynamic, strict=False)
        torch.export.save(program.run_decompositions() if functional else program, path)
    return path


def cli(*args, env=None, check=None):
    """Runs the program; check: the exit code that is expected."""
    r = subprocess.run([CIERGE, *map(str, args)], text=True, errors="replace", capture_output=True, env={**os.environ, **(env or {})}, timeout=120)
    if check is not None and r.returncode != check:
        raise AssertionError(f"cierge {' '.join(map(str, args))}: exit code {r.returncode}, not {check}\n{r.stdout}{r.stderr}")
    return r


def as_user(*words, code=0, **env):
    """Runs any program where nothing is set for cierge or Python: what it prints, on stderr where `code` is not 0."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CIERGE_", "PYTHON"))}
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd=SCRATCH, env={**clean, **env})
    assert r.returncode == code, f"{words}: {r.stdout}{r.stderr}"
    return r.stderr if code else r.stdout


def compile(path, *options, env=None):
    """(artifact, report)"""
    artifact, report = path.with_suffix(".cierge"), path.with_suffix(".json")
    cli("compile", path, "-o", artifact, "--report", report, *options, env=env, check=0)
    return artifact, json.loads(report.read_text())


def run_native(artifact, **arrays):
    """Runs in a process where LibTorch cannot be found: output arrays by name."""
    inputs, outputs = SCRATCH / "in.npz", SCRATCH / "out.npz"
    np.savez(inputs, **arrays)
    cli("run", artifact, "--inputs", inputs, "--outputs", outputs, env={"CIERGE_LIBTORCH": "none"}, check=0)
    return dict(np.load(outputs))


def close(got, want):
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(want), equal_nan=True)


def cache_entry(content, key):
    """A well-formed entry of cierge's cache (src/backend/c/cache.c)."""
    library = SCRATCH / "hash.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", f"-I{ROOT / 'src'}", f"-I{ROOT / 'third_party'}", "-o", library, ROOT / "src/base/hash.c"], check=True)
    hash_of = ctypes.CDLL(library).cg_hash_of
    hash_of.restype, hash_of.argtypes = type("Hash", (ctypes.Structure,), {"_fields_": [("text", ctypes.c_char * 33)]}), [ctypes.c_char_p, ctypes.c_size_t]
    data = content + key
    return data + b"\n%s %016x\n" % (hash_of(data, len(data)).text, len(key))


def holds(claim, attempts=3):
    """A claim about measured times is wrong if it never holds: claim() gives what was found against it. Other programs disturb a measurement, they do not mend one."""
    for _ in range(attempts):
        found = claim()
        if not found:
            return
    raise AssertionError(f"{attempts} times: {found}")


def main(tests):
    """Runs functions named test_*, each with the same random numbers in every run; prints what failed, and "N passed, N failed" last."""
    passed = failed = 0
    only = sys.argv[1:]
    for name, f in sorted(tests.items()):
        if not name.startswith("test_") or (only and name not in only):
            continue
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            f()
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED {name}")
            traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    sys.exit(bool(failed))
