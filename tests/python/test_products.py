"""Products with constant weights: panels and strips that do not come out even, every target, any number of threads."""
import numpy as np
import torch
from torch import nn

import common

SIZES = [(1, 1), (3, 16), (7, 15), (17, 31), (64, 64), (33, 65), (50, 127), (191, 48), (193, 79), (400, 200)]  # depth, columns
TARGETS = common.TARGETS


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(k, n) for k, n in SIZES)

    def forward(self, x):
        return [torch.relu(layer(x[:, :layer.in_features])) + 1 for layer in self.layers]


def runs(path, batches, dtype, targets):
    for target in targets:
        artifact, _ = common.compile(path, "--require-native", "--target", target, env={"CIERGE_LIBTORCH": "none"})
        for x, want in batches:
            bits = None
            for threads in (1, 2, 3):
                inputs, outputs = common.SCRATCH / "in.npz", common.SCRATCH / "out.npz"
                np.savez(inputs, input_0=x.numpy())
                common.cli("run", artifact, "--inputs", inputs, "--outputs", outputs, "--threads", threads, env={"CIERGE_LIBTORCH": "none"}, check=0)
                got = dict(np.load(outputs))
                for i, w in enumerate(want):
                    common.close(got[f"output_{i}"], w)
                now = b"".join(got[f"output_{i}"].tobytes() for i in range(len(want)))
                assert bits in (None, now), f"{threads} threads give other bits than one"
                bits = now


def check(dtype, rows, targets, dynamic):
    torch.manual_seed(0)
    model = Products().to(dtype).eval()
    batches = []
    with torch.no_grad():
        for n in rows:
            x = torch.randn(n, 400, dtype=dtype)
            if n > 2:
                x[1] = float("nan")
            batches.append((x, model(x)))
    path = common.export(model, (torch.randn(5, 400, dtype=dtype),) if dynamic else (batches[0][0],), f"products_{dtype}".replace(".", "_"),
                         {"x": {0: torch.export.Dim("n", min=0, max=1024)}} if dynamic else None)
    runs(path, batches, dtype, targets)


def test_open_rows():
    check(torch.float32, (0, 1, 2, 6, 13, 257, 300), TARGETS, True)


def test_fixed_rows():
    check(torch.float32, (197,), TARGETS, False)


def test_double():
    check(torch.float64, (1, 7, 260), TARGETS[-1:], True)


if __name__ == "__main__":
    common.main(globals())
