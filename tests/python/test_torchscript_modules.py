"""Modules of TorchScript: traced and scripted, in training mode, and with attributes that change from call to call."""
import pathlib
import sys
from typing import List, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch
from common import main
from torch import Tensor, nn
from torchscript import X, Y, check, compiled, run, same, save


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.drop = nn.Dropout(0.5)
        self.scale: float = 0.5

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x))).mean([2, 3])
        for b in self.blocks:
            x = x + b(self.drop(x)) * self.scale
        return x


class Counter(nn.Module):
    n: int
    last: Optional[Tensor]

    def __init__(self):
        super().__init__()
        self.n = 0
        self.register_buffer("total", torch.zeros(6))
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor):
        self.n += 1
        self.total += x.sum(0)
        return self.inner(x) + self.n, self.total.clone()


class Hidden(nn.Module):
    """Its first call begins with nothing."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 5)
        self.h = torch.zeros(0)
        self.calls: int = 0

    def forward(self, x: Tensor):
        if self.calls == 0:
            self.h = torch.zeros(x.size(0), 5)
        self.h = self.cell(x, self.h)
        self.calls = self.calls + 1
        return self.h


class Recent(nn.Module):
    """A list that grows, and is cut."""
    kept: List[Tensor]

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.kept = []

    def forward(self, x: Tensor):
        y = torch.relu(self.linear(x))
        self.kept.append(y.sum(0))
        if len(self.kept) > 2:
            self.kept = self.kept[1:]
        return y + torch.stack(self.kept).mean(0)


def test_trace():
    torch.manual_seed(0)
    m, x = Net().eval(), torch.randn(2, 3, 8, 8)
    path = save(torch.jit.trace(m, x), "traced")
    artifact, report = compiled(path, ["f32[s0, 3, s1, s2]"])
    for shape in ((2, 3, 8, 8), (1, 3, 5, 7)):
        x = torch.randn(shape)
        same(run(artifact.context(), [x]), m(x))
    assert report["nodes"]["torch"] == 0, report["nodes"]


def test_script():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    check(torch.jit.script(Net().eval()), (x,), (torch.randn(3, 3, 8, 8),), name="scripted", types=["f32[s0, 3, 8, 8]"], torch_nodes=0)


def test_training_mode():
    """Batch statistics change from call to call; nothing else does."""
    torch.manual_seed(0)
    m = Net().train()
    m.drop.eval()
    check(torch.jit.script(m), (torch.randn(2, 3, 8, 8),), (torch.randn(2, 3, 8, 8),), name="training")


def test_state():
    torch.manual_seed(0)
    check(torch.jit.script(Counter()), (X,), (Y,), (X,), name="counter", torch_nodes=0)
    check(torch.jit.script(Hidden()), (X,), (Y,), (X,), name="hidden", torch_nodes=0)


def test_state_of_changing_kind():
    torch.manual_seed(0)
    report = check(torch.jit.script(Recent()), (X,), (Y,), (X,), (Y,), name="recent")
    assert report["nodes"]["native"] > 0, report["nodes"]


if __name__ == "__main__":
    main(globals())
