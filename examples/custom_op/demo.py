"""Custom operators, end to end: `make custom-op`.

One is written in C++ (myops.cpp): the program that calls it is exported, compiled, and run from the command line and from C,
with the library named, or carried in the artifact. One is written in Python: a Python process runs it, a C process says
why it cannot.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
os.environ.setdefault("CIERGE_LIB_DIR", str(BUILD))
sys.path.insert(0, str(ROOT / "python"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import cierge  # noqa: E402

LIBRARY = BUILD / "examples/libmyops.so"


class Shift(torch.nn.Module):
    def forward(self, x):
        a, b = torch.ops.myops.shift_split(torch.relu(x), [1, 2, -3], 0.5)
        return a * 2, b + x.shape[0]


@torch.library.custom_op("pyops::clip_rows", mutates_args=())
def clip_rows(x: torch.Tensor, limit: float) -> torch.Tensor:
    norm = x.norm(dim=-1, keepdim=True)
    return x * (limit / norm).clamp(max=1)


@clip_rows.register_fake
def _(x, limit):
    return torch.empty_like(x)


class Clip(torch.nn.Module):
    def forward(self, x):
        return torch.ops.pyops.clip_rows(x * 2, 1.5) + 1


def export(model, name, folder):
    path = folder / f"{name}.pt2"
    program = torch.export.export(model, (torch.randn(4, 5),), dynamic_shapes={"x": {0: torch.export.Dim("n", min=1, max=64)}})
    torch.export.save(program, path)
    return path


def run(*command):
    r = subprocess.run([str(c) for c in command], text=True, capture_output=True)
    print("$", *(pathlib.Path(str(c)).name if os.sep in str(c) else c for c in command))
    if r.stdout + r.stderr:
        print((r.stdout + r.stderr).rstrip())
    return r


def in_cpp(folder):
    model, named, carried = export(Shift(), "shift", folder), folder / "shift.cierge", folder / "shift-bundle.cierge"
    run(BUILD / "cierge", "compile", model, "-o", named, "--torch-library", LIBRARY).check_returncode()
    run(BUILD / "cierge", "compile", model, "-o", carried, "--torch-library", LIBRARY, "--bundle").check_returncode()
    x = torch.tensor([[1.0, -2, 3, 4, 5], [6, 7, -8, 9, 10]])
    np.savez(folder / "in.npz", x=x.numpy())
    want = Shift()(x)
    for artifact, library in ((named, [LIBRARY]), (carried, [])):
        options = [o for path in library for o in ("--torch-library", path)]
        run(BUILD / "cierge", "run", artifact, "--inputs", folder / "in.npz", "--outputs", folder / "out.npz", *options).check_returncode()
        got = np.load(folder / "out.npz")
        for k, w in enumerate(want):
            torch.testing.assert_close(torch.from_numpy(got[f"output_{k}"]), w)
        text = run(BUILD / "examples/custom_op", artifact, *library).stdout
        numbers = torch.tensor([float(w) for w in text.split()], dtype=torch.float64)
        torch.testing.assert_close(numbers, torch.cat([w.flatten().double() for w in want]), atol=1e-4, rtol=1e-4)
    assert run(BUILD / "cierge", "run", named, "--inputs", folder / "in.npz").returncode == 4  # nobody named the library


def in_python(folder):
    model, artifact = export(Clip(), "clip", folder), folder / "clip.cierge"
    cierge.compile(model, output=artifact)  # this process knows the operator
    context = cierge.load(artifact).context()
    for n in (1, 3, 8):
        x = torch.randn(n, 5)
        torch.testing.assert_close(torch.from_dlpack(context.run(x)[0]), Clip()(x))
    np.savez(folder / "in.npz", x=x.numpy())
    assert run(BUILD / "cierge", "run", artifact, "--inputs", folder / "in.npz").returncode == 4  # a C process does not
    assert run(BUILD / "cierge", "compile", model, "-o", folder / "x.cierge").returncode == 4


if __name__ == "__main__":
    torch.ops.load_library(LIBRARY)  # for the export, and for PyTorch's own result
    with tempfile.TemporaryDirectory() as folder:
        in_cpp(pathlib.Path(folder))
        in_python(pathlib.Path(folder))
    print("both operators give PyTorch's results")
