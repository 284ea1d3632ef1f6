"""Long chains of pointwise operators between reductions: loops that compute several places at a time, and what is left of them."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import common

TARGETS = common.TARGETS
Dim = torch.export.Dim


class Long(nn.Module):
    def forward(self, x, w):
        y = x
        for i in range(12):
            y = (torch.relu(y + w) * 0.9 - x * 0.01 * i).clamp(-3, 2.5)
        return y


class Rows(nn.Module):
    def forward(self, x, w):
        h = F.gelu((x - x.mean(-1, keepdim=True)) * w + 1)
        z = h * torch.sigmoid(x) - torch.tanh(h) * 0.1 + torch.exp(-h * h)
        return z / (z.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt(), z.sum(-1), torch.softmax(z, -1)


class Extremes(nn.Module):
    """The last pass before a maximum is a long chain of its own."""
    def forward(self, x, w):
        h = F.gelu((x - x.mean(-1, keepdim=True)) * w + 1)
        z = x + h * torch.sigmoid(x) - torch.tanh(h) * 0.1 + torch.exp(-h * h)
        return z.amax(-1), torch.softmax(z, -1), (z * w).amin(-1)


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def check(model, shapes, name, dynamic=None, targets=TARGETS):
    torch.manual_seed(0)
    cases = []
    for rows, width in shapes:
        x, w = torch.randn(rows, width), torch.randn(width)
        if rows > 2:
            x[1, width // 2], x[2, 0] = float("nan"), float("inf")
        cases.append((x, w, [t.numpy() for t in flat(model(x, w))]))
    path = common.export(model, cases[0][:2], name, dynamic)
    for target in targets:
        artifact, _ = common.compile(path, "--require-native", "--target", target, env={"CIERGE_LIBTORCH": "none"})
        for x, w, want in cases:
            bits = set()
            for threads in (1, 2):
                inputs, outputs = common.SCRATCH / "in.npz", common.SCRATCH / "out.npz"
                np.savez(inputs, input_0=x.numpy(), input_1=w.numpy())
                common.cli("run", artifact, "--inputs", inputs, "--outputs", outputs, "--threads", threads, env={"CIERGE_LIBTORCH": "none"}, check=0)
                got = dict(np.load(outputs))
                for i, t in enumerate(want):
                    common.close(got[f"output_{i}"], t)
                bits.add(b"".join(got[f"output_{i}"].tobytes() for i in range(len(want))))
            assert len(bits) == 1, "the number of threads changes bits"


class Clamps(nn.Module):
    def forward(self, x, w):
        nan = float("nan")
        bounds = [(-1, 1.5), (2.0, -1.0), (0.0, 0.0), (nan, 1.0), (0.0, nan), (-float("inf"), 0.5)]
        return tuple(torch.clamp(x, lo, hi) for lo, hi in bounds) + (x.clamp(min=0.5), x.clamp(max=-0.5))


def test_clamp():
    check(Clamps(), [(7, 37)], "clamps")


def test_long():
    for width in (64, 65, 31, 7):
        check(Long(), [(33, width)], f"long_{width}")
    check(Long(), [(3, 300), (5, 16), (4, 64), (1, 1000), (0, 9)], "long_open", {"x": {0: Dim("n", min=0), 1: (d := Dim("d", min=2, max=5000))}, "w": {0: d}})


def test_extremes():
    for width in (1024, 130, 20):
        check(Extremes(), [(7, width)], f"extremes_{width}")
    check(Extremes(), [(3, 300), (5, 16), (1, 1500)], "extremes_open", {"x": {0: Dim("n", min=0), 1: (d := Dim("d", min=2, max=5000))}, "w": {0: d}})


def test_rows():
    for width in (1024, 512, 130, 700, 20):
        check(Rows(), [(7, width)], f"rows_{width}")
    check(Rows(), [(3, 300), (5, 16), (4, 64), (1, 1500), (0, 9)], "rows_open", {"x": {0: Dim("n", min=0), 1: (d := Dim("d", min=2, max=5000))}, "w": {0: d}})


class Beside(nn.Module):
    def forward(self, a, b, c, d):
        return torch.relu(a + 1), torch.tanh(b) * 2, c.sigmoid(), (d - 3).abs()


class SumsBeside(nn.Module):
    def forward(self, *x):
        return tuple((t + i).sum(-1) for i, t in enumerate(x))


def test_side_by_side():
    """Small operators that have nothing to do with each other, over the same space, are one kernel; big ones are not."""
    for model, name in ((Beside(), "beside"), (SumsBeside(), "sums_beside")):
        for rows, kernels in ((16, 1), (1600, 4)):
            x = tuple(torch.randn(rows, 32) for _ in range(4))
            artifact, _ = common.compile(common.export(model, x, f"{name}{rows}"), "--require-native")
            text = common.cli("inspect", artifact, check=0).stdout
            assert f"native kernels: {kernels}\n" in text, text
            got = common.run_native(artifact, **{f"x_{i}" if name != "beside" else "abcd"[i]: t.numpy() for i, t in enumerate(x)})
            for i, want in enumerate(model(*x)):
                common.close(got[f"output_{i}"], want.numpy())


if __name__ == "__main__":
    common.main(globals())
