"""Architectures of `transformers` (bench/architectures.py), small and with random weights: each is exported, compiled, run, and gives
PyTorch's result, natively."""
import json
import sys

import torch

import common
from common import SCRATCH
import cierge

sys.path.insert(0, str(common.ROOT / "bench"))
import architectures  # noqa: E402


def check(name, make, inputs):
    model, want = architectures.built(make, inputs)
    report, artifact = SCRATCH / "zoo.json", SCRATCH / "zoo.cierge"
    cierge.compile(common.export(model, inputs, "zoo"), output=artifact, report=str(report))
    nodes = json.load(open(report))["nodes"]
    got = torch.from_dlpack(cierge.load(artifact).context(threads=2).run(*inputs)[0])
    assert want.abs().max() > 1e-20, f"{name}: nothing is left to compare"
    error = ((got - want).abs().max() / want.abs().max()).item()
    assert error < 2e-5, f"{name}: {error:.1e} of the largest element off"
    assert not nodes["torch"], f"{name}: {nodes['torch']} of {nodes['total']} nodes in LibTorch"


def check_all(kind):
    for name, make, inputs in architectures.KINDS[kind](architectures.Size(True)):
        check(name, make, inputs)


if __name__ == "__main__":
    common.main({f"test_{kind}": lambda kind=kind: check_all(kind) for kind in architectures.KINDS})
