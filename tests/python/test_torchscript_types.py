"""Programs with types that PyTorch's Meta kernels do not give, or not for symbolic sizes (losses, transforms, packed sequences, resizing by computed
sizes), and with types that only the run knows."""
import json
import pathlib
import sys
import zipfile
from typing import Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import torch
import torch.nn.functional as F
import numpy as np
from common import SCRATCH, cli, export, main, module
from torch import Tensor, nn
from torchscript import S, X, check, compiled, run, same, save

import cierge

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
        for layer in (nn.LSTM(4, 6, 2, bidirectional=True).requires_grad_(False), nn.GRU(4, 6).requires_grad_(False)):
            def recur(x, n):
                y, state = layer(nn.utils.rnn.pack_padded_sequence(x, n, True, sort))
                return nn.utils.rnn.pad_packed_sequence(y, True), state
            traced(recur, data, "recurrent")
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


# ---------------------------------------------------------------- types that only the run knows

def squeezed(x: Tensor):
    return x[x > 0].squeeze(), x + 1


def either(x: Tensor):
    if bool(x.sum() > 0):
        return x.to(torch.float64)
    return x.long()[0]


def maybe(x: Tensor):
    y: Optional[Tensor] = None
    if bool(x.sum() > 0):
        y = x.exp()
    return y, x * 2


def written(x: Tensor):
    y = x[x > 0].squeeze()
    y.add_(1)
    y[...] = y * 2
    return y, x


def first_column(x: Tensor):
    return x[:, :1].squeeze(0)


def test_outputs_of_types_that_only_the_run_knows():
    one = torch.zeros(4, 6)
    one[2, 3] = 5
    for f in (squeezed, either, maybe, written):
        check(torch.jit.script(f), (X,), (-X,), (one,), (-X.abs(),), (X,), name=f.__name__, types=[S])
    check(torch.jit.script(first_column), (X,), (X[:1].contiguous(),), (X,), name="first", types=[S])
    check(torch.jit.script(first_column), (X[:1].contiguous(),), name="first", types=["f32[1, 6]"], torch_nodes=0)


def test_values_that_only_LibTorch_holds():
    """Sparse, quantised, nested: inside a region they are what they are."""
    x = torch.randn(3, 3)
    traced(lambda x: torch.sparse.mm(x.to_sparse(), x.T), (x,), "sparse", more=[(torch.eye(3),)])
    traced(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8).dequantize(), (x,), "quantised")
    traced(lambda x: torch.nested.to_padded_tensor(torch.nested.nested_tensor([x, x[:2]]), 0.0), (x,), "nested", allow_unsafe_ops=["aten::"])
    traced(lambda a, b: torch.linalg.lstsq(a, b, driver="gelsd")[:2], (torch.randn(2, 5, 3), torch.randn(2, 5, 2)), "lstsq")


def test_scripted_layers():
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        check(torch.jit.script(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()), (x,), (x[:1].contiguous(),), name="layer", types=["f32[s0, 5, 16]"])
        check(torch.jit.script(nn.MultiheadAttention(16, 4, batch_first=True).eval()), (x, x, x), name="attention")


def test_layers_of_open_sizes():
    """Layers whose images, batch and places are open, of which PyTorch has no Meta kernels in C++: native, at other sizes too."""
    n, c, h, w = "s0", 3, "s1", "s2"
    cases = (("net", (n, c, h, w), nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2),
                                                 nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))),
             ("same", (n, c, w), nn.Sequential(nn.Conv1d(3, 8, 3, padding="same"), nn.GELU())),
             ("transposed", (n, c, h, w), nn.Sequential(nn.ConvTranspose2d(3, 8, 3, stride=2), nn.Hardswish())),
             ("norms", (n, c, h, w), nn.Sequential(nn.GroupNorm(3, 3), nn.InstanceNorm2d(3, affine=True), nn.LeakyReLU())),
             ("resized", (n, c, h, w), nn.Upsample(scale_factor=2, mode="bilinear")),
             ("attention", (n, h, 8), module(lambda x: F.scaled_dot_product_attention(x, x, x))))
    for name, size, net in cases:
        x, y, ones = (torch.randn([k.get(d, d) for d in size]) for k in ({n: 2, h: 16, w: 16}, {n: 3, h: 9, w: 21}, {n: 1, h: 1, w: 1}))
        with torch.no_grad():
            traced(net.eval(), (x,), name, types=[f"f32[{', '.join(map(str, size))}]"], torch_nodes=0, **({"raises": [(ones,)], "more": [(y,)]} if name == "net" else {"more": [(y,), (ones,)]}))


def test_command_line_and_memory():
    path = save(torch.jit.script(either), "either")
    artifact, report = compiled(path, [S])
    assert [(o.kind, o.dtype, o.rank) for o in artifact.outputs] == [("tensor", None, -1)], artifact.outputs
    assert "output_0: tensor, of a dtype and shape that each call tells" in cierge.inspect(path.with_suffix(".cierge"))
    for x in (X, -X):
        np.savez(SCRATCH / "in.npz", x=x.numpy())
        cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "in.npz", "--outputs", SCRATCH / "out.npz", check=0)
        same([torch.from_numpy(np.load(SCRATCH / "out.npz")["output_0"])], either(x))
    context = artifact.context(threads=1)
    first = run(context, (X,))  # taken: it outlives the next call
    same(run(context, (-X,)), either(-X))
    same(first, either(X))


def test_exported_programs_without_types():
    """What a .pt2 does not record, no rule and no Meta kernel knows: LibTorch's, up to the outputs."""
    with torch.no_grad():
        path = export(module(lambda x: (torch.nonzero(x) + 1, torch.relu(x))), (X,), "unrecorded")
    bare = SCRATCH / "bare.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bare, "w", zipfile.ZIP_STORED) as new:
        for i in old.infolist():
            data = old.read(i)
            if i.filename.endswith("models/model.json"):
                program = json.loads(data)
                graph = program["graph_module"]["graph"]
                for node in graph["nodes"]:
                    if node["target"].endswith(("nonzero.default", "add.Tensor")):
                        del graph["tensor_values"][node["outputs"][0]["as_tensor"]["name"]]
                data = json.dumps(program)
            new.writestr(i, data)
    cierge.compile(bare, output=bare.with_suffix(".cierge"))
    context = cierge.load(bare.with_suffix(".cierge")).context(threads=1)
    assert [o.rank for o in context.program.outputs] == [-1, 2]
    for x in (X, -X, X * 0):
        same(run(context, (x,)), (torch.nonzero(x) + 1, torch.relu(x)))


if __name__ == "__main__":
    main(globals())
