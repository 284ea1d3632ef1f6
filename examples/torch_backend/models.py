"""The models of doc/torch-backend.md, written to the current folder: mixed.pt2, pair.pt, and arrays to call them with."""
import numpy as np
import torch
from torch import Tensor, nn


class Mixed(nn.Module):
    """A convolution and a softmax, which compile, around singular values and nonzero, which stay in LibTorch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        y = torch.relu(self.conv(x)).flatten(2)
        s = torch.linalg.svdvals(y)
        return torch.softmax(s, -1), torch.nonzero(s > 1)


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor):
        return x + y, torch.stack([x, y]).argmax(0)


torch.manual_seed(0)
x = torch.randn(2, 3, 16, 16)
torch.export.save(torch.export.export(Mixed(), (x,)), "mixed.pt2")
torch.jit.save(torch.jit.script(Pair()), "pair.pt")
np.savez("mixed.npz", x=x.numpy())
np.savez("pair.npz", x=np.arange(3, dtype=np.float32), y=np.ones(3, np.float32))
