"""Custom operators from a library of the user's: compiled with --torch-library, run with it, refused clearly without it."""
import os
import re
import subprocess

import numpy as np
import torch

import common
from common import ROOT, SCRATCH, cli

LIBRARY = SCRATCH / "libmyops.so"


def build():
    where = os.path.dirname(torch.__file__)
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O0", "-fPIC", "-shared", ROOT / "tests/custom_op/myops.cpp", "-o", LIBRARY,
                    "-isystem", f"{where}/include", "-isystem", f"{where}/include/torch/csrc/api/include", f"-L{where}/lib", "-ltorch", "-ltorch_cpu", "-lc10"],
                   check=True, timeout=100)
    torch.ops.load_library(LIBRARY)


class Net(torch.nn.Module):
    def forward(self, x):
        a, b = torch.ops.myops.shift_split(torch.relu(x), [1, 2, -3], 0.5)
        return a * 2, b + x.shape[0]


def net():
    path = SCRATCH / "net.pt2"
    if not path.exists():
        common.export(Net(), (torch.randn(4, 5),), "net", {"x": {0: torch.export.Dim("n", min=1, max=64)}})
    return path


def inputs(n):
    x = torch.randn(n, 5) * 3
    np.savez(SCRATCH / "in.npz", x=x.numpy())
    return x, SCRATCH / "in.npz"


def run(artifact, n, *options):
    x, path = inputs(n)
    cli("run", artifact, "--inputs", path, "--outputs", SCRATCH / "out.npz", *options, check=0)
    return x, np.load(SCRATCH / "out.npz")


def test_runs_at_any_size():
    artifact, report = common.compile(net(), "--torch-library", LIBRARY)
    assert report["nodes"]["torch"] == 1, report
    for n in (1, 4, 9):
        x, got = run(artifact, n, "--torch-library", LIBRARY)
        for k, want in enumerate(Net()(x)):
            common.close(got[f"output_{k}"], want)


def test_several_libraries_from_the_api():
    import cierge
    cierge.compile(net(), SCRATCH / "api.cierge", torch_library=[str(LIBRARY)])
    context = cierge.load(SCRATCH / "api.cierge", torch_libraries=[str(LIBRARY)]).context()
    x = torch.randn(3, 5)
    for got, want in zip(context.run(x), Net()(x)):
        common.close(torch.from_dlpack(got), want)


def test_a_library_named_without_a_folder():
    r = subprocess.run([common.CIERGE, "compile", net(), "-o", SCRATCH / "bare.cierge", "--torch-library", LIBRARY.name], cwd=SCRATCH, text=True, capture_output=True)
    assert r.returncode == 0, r.stderr


def test_missing_libraries_are_named():
    artifact, _ = common.compile(net(), "--torch-library", LIBRARY)
    _, path = inputs(2)
    r = cli("run", artifact, "--inputs", path)
    assert r.returncode == 4 and "myops::shift_split" in r.stderr and LIBRARY.name in r.stderr and "--torch-library" in r.stderr, r.stderr
    r = cli("run", artifact, "--inputs", path, "--torch-library", SCRATCH / "nothing.so")
    assert r.returncode == 4 and "nothing.so" in r.stderr, r.stderr
    r = cli("compile", net(), "-o", SCRATCH / "x.cierge", "--torch-library", SCRATCH / "nothing.so")
    assert r.returncode == 4 and "nothing.so" in r.stderr, r.stderr
    r = cli("compile", net(), "-o", SCRATCH / "x.cierge")
    assert r.returncode == 4 and "myops::shift_split" in r.stderr and "--torch-library" in r.stderr, r.stderr


def test_an_error_of_the_operator():
    path = SCRATCH / "bad.cir"
    path.write_text("""schema "myops::shift_split(Tensor x, int[] by, float scale=1.) -> (Tensor, Tensor)"
fn @main(%x: f32[2, 5]) -> f32[2, 5] {
  %0: f32[2, 5], %1: i64[2] = myops.shift_split(%x, by=[])
  return %0
}
""")
    artifact, _ = common.compile(path, "--torch-library", LIBRARY)
    _, x = inputs(2)
    r = cli("run", artifact, "--inputs", x, "--torch-library", LIBRARY)
    assert r.returncode == 3 and "at least one shift" in r.stderr and "bad.cir:3" in r.stderr, r.stderr


def test_types_without_a_meta_kernel():
    text = """schema "myops::only_cpu(Tensor x) -> Tensor"
sym n = 1..9
fn @main(%x: f32[n, 5]) -> f32[n] {
  %0RESULT = myops.only_cpu(%x)
  %1 = aten.relu(%0)
  return %1
}
"""
    path = SCRATCH / "untyped.cir"
    path.write_text(text.replace("RESULT", ""))
    r = cli("compile", path, "-o", SCRATCH / "x.cierge", "--torch-library", LIBRARY)
    assert r.returncode == 3 and "myops::only_cpu" in r.stderr and "untyped.cir:4" in r.stderr and "--op-type" in r.stderr, r.stderr
    artifact, _ = common.compile(path, "--torch-library", LIBRARY, "--op-type", "myops::only_cpu=(f32[s0, 5]) -> (f32[s0])")
    x, got = run(artifact, 3, "--torch-library", LIBRARY)
    common.close(got["output_0"], x.sum(-1).relu())
    for declared, code, word in (("(f32[s0, 6]) -> (f32[s0])", 3, "f32[n, 5]"), ("(f64[s0, 5]) -> (f32[s0])", 3, "f32[n, 5]"), ("(f32[s0, 5]) -> ()", 2, "0 results"),
                                 ("() -> (f32[s0])", 2, "0 tensor arguments"), ("f32[s0, 5]", 2, "reads like")):
        r = cli("compile", path, "-o", SCRATCH / "x.cierge", "--torch-library", LIBRARY, "--op-type", "myops::only_cpu=" + declared)
        assert r.returncode == code and word in r.stderr, (declared, r.stderr)
    path.write_text(text.replace("RESULT", ": f32[n]"))  # the text itself says it
    artifact, _ = common.compile(path, "--torch-library", LIBRARY)
    x, got = run(artifact, 4, "--torch-library", LIBRARY)
    common.close(got["output_0"], x.sum(-1).relu())


def test_inspect_names_what_it_needs():
    artifact, _ = common.compile(net(), "--torch-library", LIBRARY)
    text = cli("inspect", artifact, check=0).stdout
    assert re.search(r"myops::shift_split.*libmyops\.so", text), text


if __name__ == "__main__":
    build()
    common.main(globals())
