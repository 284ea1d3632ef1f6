#!/usr/bin/env python3
"""Writes what fuzzing starts from: small files of each format, in FOLDER/NAME of each target. fuzz.h says how archives are given.

    seeds.py FOLDER"""
import io
import pathlib
import struct
import sys
import zipfile

import numpy as np
import safetensors.numpy
import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
sys.path.insert(0, str(HERE.parent / "models"))
import common  # noqa: E402
import models  # noqa: E402

FOLDER = pathlib.Path(sys.argv[1])


def put(target, name, data):
    path = FOLDER / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def as_text(data):
    """An archive's members as fuzz_zip reads them; long ones cut out, whose content no reader looks at."""
    out = []
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        for m in z.namelist():
            if not m.endswith((".debug_pkl", "serialization_id", ".storage_alignment")):
                out.append(b"=== " + m.encode() + b"\n" + z.read(m))
    return b"\n".join(out)


class Loop(nn.Module):
    def forward(self, x, n: int):
        for i in range(n):
            x = x * 2 + i if i > 1 else x.relu()
        return x


class Branch(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))


def programs():
    """(name, module, inputs, dynamic shapes)"""
    batch = torch.export.Dim("b", min=1, max=64)
    yield "counter", models.Counter(), (torch.randn(4, 3),), None
    yield "mlp", nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Softmax(-1)), (torch.randn(2, 4),), ({0: batch},)
    yield "conv", nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3).eval(), nn.MaxPool2d(2)).eval(), (torch.randn(2, 2, 8, 8),), ({0: batch},)
    yield "lstm", nn.LSTM(3, 4), (torch.randn(5, 1, 3),), None
    yield "branch", Branch(), (torch.randn(3),), None
    yield "norm", nn.Sequential(nn.LayerNorm(6), nn.Flatten(), nn.Dropout(0.1)).eval(), (torch.randn(2, 3, 6),), None


def without_kernels(data):
    """An artifact with a few bytes for kernels, and no source: the target has its own."""
    n, = struct.unpack_from("<I", data, 12)
    rows = [struct.unpack_from("<8sQQQ", data, 32 + 32 * i) for i in range(n)]
    kept = [(k, b"\x7fELF" if k.startswith(b"kernels") else data[o:o + s]) for k, o, s, _ in rows if not k.startswith(b"source")]
    out, table = bytearray(32 + 32 * len(kept)), []
    for k, content in kept:
        step = 4096 if k.startswith(b"weights") else 64
        out += bytes(-len(out) % step)
        table.append((k, len(out), len(content)))
        out += content
    struct.pack_into("<8sIIQQ", out, 0, data[:8], struct.unpack_from("<I", data, 8)[0], len(kept), len(out), 0)
    for i, (k, o, s) in enumerate(table):
        struct.pack_into("<8sQQQ", out, 32 + 32 * i, k, o, s, 0)
    return bytes(out)


def arrays():
    for name, a in (("f32", np.arange(6, dtype=np.float32).reshape(2, 3)), ("i64", np.array(3)), ("fortran", np.asfortranarray(np.ones((2, 2)))),
                    ("big", np.arange(3, dtype=">i4")), ("bool", np.zeros((0, 2), bool)), ("text", np.array(["a", "bc"])), ("complex", np.ones(2, np.complex64))):
        b = io.BytesIO()
        np.save(b, a)
        put("fuzz_npy", name, b.getvalue())
    b = io.BytesIO()
    np.savez(b, x=np.ones((2, 2), np.float32), **{"y.bfloat16": np.zeros(3, np.uint16)})
    put("fuzz_npz", "two", as_text(b.getvalue()))
    put("fuzz_zip", "npz", b.getvalue())
    b = io.BytesIO()
    np.savez_compressed(b, x=np.zeros((20, 20), np.float32))
    put("fuzz_zip", "deflated", b.getvalue())
    put("fuzz_safetensors", "two", safetensors.numpy.save({"x": np.ones((2, 2), np.float32), "y": np.zeros(0, np.int64)}, {"a": "b"}))


def main():
    arrays()
    for i, path in enumerate(sorted((HERE.parent / "golden").glob("*.txt"))):
        text = path.read_text().split("\n// expect")[0]
        put("fuzz_cir", path.stem, text.encode() + b"\n")
    for name, module, args, dynamic in programs():
        path = common.export(module, args, name, dynamic)
        put("fuzz_pt2", name, as_text(path.read_bytes()))
        put("fuzz_plan", name, without_kernels(common.compile(path)[0].read_bytes()))
        script = io.BytesIO()
        torch.jit.save(torch.jit.trace(module, args) if name != "branch" else torch.jit.script(Loop()), script)
        put("fuzz_script", name, as_text(script.getvalue()))


if __name__ == "__main__":
    main()
