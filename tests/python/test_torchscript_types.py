"""Traced programs whose types PyTorch's Meta kernels do not give, or not for symbolic sizes: losses, transforms, packed sequences, resizing by computed sizes."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch
import torch.nn.functional as F
from common import main
from torchscript import check
from torch import nn

torch.manual_seed(0)
SIGNAL, SPECTRUM = torch.randn(2, 400), torch.stft(torch.randn(2, 400), 64, return_complex=True)
LOGITS, CLASSES = F.log_softmax(torch.randn(2, 5, 3, 4), 1), torch.randint(0, 5, (2, 3, 4))
LENGTHS = torch.tensor([7, 5, 2])


def traced(f, inputs, name, types=None, more=(), **options):
    """more: other inputs of the same types."""
    program = torch.jit.trace(f, inputs, check_trace=False)
    return check(program, inputs, *more, name=name, types=types, **options)


def test_nll_loss():
    for reduction in ("mean", "sum", "none"):
        for weight in (None, torch.rand(5)):
            def loss(x, t):
                return F.nll_loss(x, t, weight, ignore_index=1, reduction=reduction), F.nll_loss(x[:, :, 0, 0], t[:, 0, 0], weight, reduction=reduction)
            traced(loss, (LOGITS, CLASSES), "nll", types=["f32[s0, 5, 3, s1]", "i64[s0, 3, s1]"], more=[(LOGITS[:1, ..., :2].contiguous(), CLASSES[:1, :, :2].contiguous())])


def test_stft_and_istft():
    window = torch.hann_window(48)
    forms = [dict(), dict(hop_length=10, win_length=48, window=window), dict(normalized=True, onesided=False), dict(center=False, hop_length=7)]
    for k in forms:
        def f(x):
            return torch.view_as_real(torch.stft(x, 64, return_complex=True, **k)), torch.stft(x[0], 64, return_complex=False, **k)
        traced(f, (SIGNAL,), "stft", types=["f32[s0, 400]"], more=[(SIGNAL[:1].contiguous(),)])
    for k in (dict(), dict(hop_length=16), dict(length=390), dict(length=700), dict(window=torch.hann_window(64))):
        def g(x):
            s = torch.view_as_complex(x)
            return torch.istft(s, 64, **k), torch.istft(s[0], 64, **k)
        x = torch.view_as_real(SPECTRUM).contiguous()
        traced(g, (x,), "istft", types=["f32[s0, 33, s1, 2]"], more=[(x[:1, :, :20].contiguous(),)])


def test_packed_sequences():
    for data in ((torch.randn(3, 7, 4), LENGTHS), (torch.randn(3, 7, 4), LENGTHS.flip(0))):
        sort = bool(data[1][0] == 7)
        traced(lambda x, n: nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.pack_padded_sequence(x, n, True, sort), True, -1.0, 9), data, "packed")


def test_resizing_by_computed_sizes():
    for mode, scale in (("nearest", 2.0), ("bilinear", (1.5, 0.7)), ("bicubic", 0.7), ("area", 0.5)):
        def f(x):
            return F.interpolate(x, scale_factor=scale, mode=mode, recompute_scale_factor=True)
        x = torch.randn(1, 3, 10, 6)
        traced(f, (x,), "recompute", torch_nodes=0)
        traced(f, (x,), "recompute_symbolic", types=["f32[1, 3, s0, 6]"], more=[(torch.randn(1, 3, 7, 6),)])


def test_others():
    def f(a, b, target):
        return [F.cosine_embedding_loss(a, b, target, reduction=r) for r in ("none", "mean")]
    data = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, -1, 1])
    for dtype in (torch.float32, torch.float64):
        traced(f, (data[0].to(dtype), data[1].to(dtype), data[2]), "cosine")
    traced(lambda a, b: (torch.logspace(a, b, 5), torch.logspace(a, 3, 4, base=3), torch.linspace(a, b, 7)), (torch.tensor(1.0), torch.tensor(2.0)), "spaces")
    index = torch.tensor([[0], [2], [1]]), torch.tensor([[1, 3]])
    mask = torch.tensor([[True, False], [False, True], [True, True]])
    traced(lambda x, m: torch.ops.aten._unsafe_masked_index(x, m, list(index), 0.5), (torch.randn(3, 4), mask), "masked", types=["f32[s0, 4]", "bool[3, 2]"])
    traced(lambda g, m: torch.ops.aten.native_dropout_backward(g, m, 2.0), (torch.randn(3, 4), torch.randn(3, 4) > 0), "dropout", types=["f32[s0, 4]", "bool[s0, 4]"])
    traced(lambda x, i: torch.tensor_split(x, i), (torch.randn(6, 4), torch.tensor([1, 3])), "split")
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    with torch.no_grad():  # the fast path: one operator
        traced(layer, (torch.randn(2, 5, 16),), "encoder", types=["f32[s0, s1, 16]"], more=[(torch.randn(3, 1, 16),)])


if __name__ == "__main__":
    main(globals())
