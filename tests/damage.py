"""Damaged files through the program: whatever is flipped or cut, it ends with a clear error or a result, never a signal.

Artifacts: every damage is refused. Models: a flip in a checksummed member is refused; what is accepted must compile.
"""
import pathlib
import random
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
import common  # noqa: E402
import models  # noqa: E402
from common import SCRATCH, cli  # noqa: E402

random.seed(7)


def damages(data, n):
    for _ in range(n):
        bad = bytearray(data)
        if random.random() < 0.3:
            yield bytes(bad[:random.randrange(len(bad))])
            continue
        for _ in range(random.choice((1, 1, 3))):
            bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
        yield bytes(bad)


def test_artifacts():
    artifact = common.compile(common.export(models.MLP(), (torch.randn(2, 37),), "mlp"))[0]
    np.savez(SCRATCH / "x.npz", x=np.ones((2, 37), np.float32))
    path = SCRATCH / "bad.cierge"
    for bad in damages(artifact.read_bytes(), 60):
        path.write_bytes(bad)
        r = cli("run", path, "--inputs", SCRATCH / "x.npz")
        assert r.returncode == 3, (r.returncode, r.stderr)


def test_models():
    data = common.export(models.Counter(), (torch.randn(4, 3),), "counter").read_bytes()
    path = SCRATCH / "bad.pt2"
    refused = 0
    for bad in damages(data, 120):
        path.write_bytes(bad)
        r = cli("compile", path, "-o", SCRATCH / "bad.cierge")
        assert r.returncode in (0, 3, 4), (r.returncode, r.stderr)
        refused += r.returncode != 0
    assert refused > 60, refused


def test_texts():
    text = cli("compile", common.export(models.CNN(), (torch.randn(1, 3, 8, 8),), "cnn"), "-o", SCRATCH / "c.cierge", "--emit", "ir", check=0).stdout
    path = SCRATCH / "bad.cir"
    for bad in damages(text.encode(), 60):
        path.write_bytes(bad)
        assert cli("compile", path, "-o", SCRATCH / "bad.cierge").returncode in (0, 3, 4)


if __name__ == "__main__":
    common.main(globals())
