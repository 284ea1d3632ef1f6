"""`cierge compile --tune`: measured once, kept for this processor; every way gives PyTorch's results; without it nothing changes."""
import os

import torch
from torch import nn

import common
import cierge

CACHE = common.SCRATCH / "cache"
ENV = {"CIERGE_CACHE": str(CACHE)}

WAYS = {"panels": ("panels of 1 vector", "panels of 2 vectors", "panels of 3 vectors", "panels of 4 vectors"), "way": ("direct", "Winograd"),
        "operand": ("B packed first", "B in place"), "blocks": ("blocks of 96 pixels", "blocks of 48 pixels", "blocks of 192 pixels"),
        "input": ("pointers to pixels", "im2col"), "layout": ("channels innermost", "as in the model")}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs, self.linear = nn.Sequential(*[nn.Conv2d(32, 32, 3, padding=1) for _ in range(2)]), nn.Linear(10, 150)

    def forward(self, x):
        y = self.linear(torch.relu(self.convs(x)))
        return y.transpose(2, 3) @ y


def setup():
    torch.manual_seed(0)
    model, x = Model().eval(), torch.randn(1, 32, 10, 10)
    return model, x, common.export(model, (x,), "tune")


def tuned(path, *options):
    out = common.SCRATCH / "tuned.cierge"
    return out, common.cli("compile", path, "-o", out, *options, env=ENV, check=0).stderr


def test_measured_once():
    _, _, path = setup()
    before, _ = tuned(path)
    before = before.read_bytes()
    _, said = tuned(path, "--tune")
    assert "cierge: tune: " in said and "panels aten::linear(f32[1,32,10,10], f32[150,10], f32[150])" in said
    again, silent = tuned(path, "--tune")
    assert "tune" not in silent
    measured = again.read_bytes()
    plain, _ = tuned(path)
    assert plain.read_bytes() == before, "without --tune nothing that was measured is read"
    again, _ = tuned(path, "--tune")
    assert again.read_bytes() == measured
    # options of the table are Python's as well, for files and texts; what one measured the other reads
    out = common.SCRATCH / "python.cierge"
    os.environ["CIERGE_CACHE"] = str(CACHE)
    try:
        cierge.compile(path, output=out, tune=True)
        assert out.read_bytes() == measured
        cierge.compile_text("fn @main(%x: f32[3, 40], %w: f32[40, 30]) -> f32[3, 30] {\n  %y = aten.mm(%x, %w)\n  return %y\n}\n", out, tune=True)
    finally:
        del os.environ["CIERGE_CACHE"]
    x, w = torch.randn(3, 40), torch.randn(40, 30)
    common.close(torch.from_dlpack(cierge.load(out).context().run(x, w)[0]), x @ w)


def test_every_way():
    model, x, path = setup()
    tuned(path, "--tune")
    kept, = CACHE.glob("tune *.txt")
    lines = [line.split("\t")[0] for line in kept.read_text().splitlines() if "\t" in line]
    kind = {line: next(k for k in WAYS if f" {k} aten::" in line or f" {k} region " in line) for line in lines}
    seen = set()
    for i in range(4):
        way = {k: ways[i // {"layout": 3, "input": 2}.get(k, 1) % len(ways)] for k, ways in WAYS.items()}
        kept.write_bytes(common.cache_entry("".join(f"{line}\t{way[k]}\n" for line, k in kind.items()).encode(), kept.name.encode()))
        artifact, _ = tuned(path, "--tune")
        seen |= {w for ways in WAYS.values() for w in ways if f", {w}" in common.cli("inspect", artifact, check=0).stdout}
        context = cierge.load(artifact).context(threads=2)
        context.set_input(0, x)
        context.call()
        common.close(torch.from_dlpack(context.output(0)), model(x).detach())
    assert seen >= {"panels of 1 vector", "panels of 2 vectors", "B packed first", "B in place", "Winograd", "blocks of 48 pixels", "im2col", "channels innermost"}, seen
    kept.unlink()


def test_needs_inputs_that_fit():
    _, _, path = setup()
    import numpy as np
    np.savez(common.SCRATCH / "wrong.npz", input_0=np.zeros((1, 32, 9, 9), np.float32))
    c = common.cli("compile", path, "-o", common.SCRATCH / "w.cierge", "--tune", "--inputs", common.SCRATCH / "wrong.npz", env={"CIERGE_CACHE": str(common.SCRATCH / "none")})
    assert c.returncode == 3 and "expected float32[1, 32, 10, 10], found float32[1, 32, 9, 9]" in c.stderr, c.stderr
    assert not (common.SCRATCH / "w.cierge").exists()


if __name__ == "__main__":
    common.main(globals())
