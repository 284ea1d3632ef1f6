"""Recurrent layers, bags of embeddings, differences: native in the training dialect, PyTorch's results."""
import torch
from torch import nn

import common

Dim = torch.export.Dim


class Layer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *state):
        return self.layer(x, tuple(state) if len(state) == 2 else state[0] if state else None)


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else [t for v in value for t in flat(v)]


def compare(model, inputs, name, dynamic=None, others=(), functional=False, options=()):
    path = common.export(model, inputs, name, dynamic, functional)
    artifact, _ = common.compile(path, "--require-native", *options, env={"CIERGE_LIBTORCH": "none"})
    for x in (inputs, *others):
        with torch.no_grad():
            want = flat(model(*x))
        got = common.run_native(artifact, **{f"input_{i}": t.numpy() for i, t in enumerate(x)})
        for i, w in enumerate(want):
            common.close(got[f"output_{i}"], w)


LAYERS = [(nn.LSTM, {}), (nn.GRU, {}), (nn.RNN, {}), (nn.RNN, {"nonlinearity": "relu"})]
# layers, both directions, batch first, bias, hidden, input, steps, batch
FORMS = [(1, False, False, True, 5, 3, 4, 2), (3, True, True, True, 37, 19, 7, 9), (2, False, True, False, 64, 64, 1, 17)]


def test_layers():
    torch.manual_seed(0)
    for k, (kind, more) in enumerate(LAYERS):
        for f, (layers, both, first, bias, hidden, width, steps, batch) in enumerate(FORMS):
            model = Layer(kind(width, hidden, layers, bias=bias, batch_first=first, bidirectional=both, **more)).eval()
            x = torch.randn(batch, steps, width) if first else torch.randn(steps, batch, width)
            state = [torch.randn(layers * (1 + both), batch, hidden) for _ in range(2 if kind is nn.LSTM else 1)]
            compare(model, (x,), f"rnn{k}_{f}")
            compare(model, (x, *state), f"rnn{k}_{f}_state", options=("--target", "x86-64-v3") if f else ())


class Half(nn.Module):
    def __init__(self, layer, dtype):
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, x, *state):
        state = [s.to(self.dtype) for s in state]
        return [y.float() for y in flat(self.layer(x.to(self.dtype), tuple(state) if len(state) == 2 else state[0]))]


def test_halves():
    """Weights stay 16 bits wide; as exact as PyTorch, which rounds every gate, or as PyTorch has it."""
    torch.manual_seed(5)
    layers, both, first, bias, hidden, width, steps, batch = FORMS[1]
    for k, (kind, more) in enumerate(LAYERS):
        for dtype, target in (torch.bfloat16, common.TARGETS[k % 2]), (torch.float16, common.TARGETS[-1]):
            model = Half(kind(width, hidden, layers, bias=bias, batch_first=first, bidirectional=both, **more), dtype).eval()
            x = torch.randn(batch, steps, width), *(torch.randn(layers * 2, batch, hidden) for _ in range(2 if kind is nn.LSTM else 1))
            path = common.export(model, x, f"half{k}")
            artifact, _ = common.compile(path, "--require-native", "--target", target, env={"CIERGE_LIBTORCH": "none"})
            assert f"weights {'bf16' if dtype == torch.bfloat16 else 'f16'}" in common.cli("inspect", artifact, check=0).stdout
            got = common.run_native(artifact, **{f"input_{i}": t.numpy() for i, t in enumerate(x)})
            with torch.no_grad():
                want, exact = model(*x), flat(model.layer.double()(x[0].to(dtype).double(), tuple(s.to(dtype).double() for s in x[1:]) if len(x) == 3 else x[1].to(dtype).double()))
            for i, w in enumerate(want):
                error, eager = ((torch.as_tensor(y) - exact[i]).abs().max() for y in (got[f"output_{i}"], w))
                assert error <= eager or common.close(torch.as_tensor(got[f"output_{i}"]).to(dtype), w.to(dtype)) is None, f"{kind.__name__} {dtype} output {i}: {error} from exact, PyTorch {eager}"


def test_double_and_open_batch():
    torch.manual_seed(1)
    model = Layer(nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)).double().eval()
    compare(model, (torch.randn(3, 5, 8, dtype=torch.float64),), "lstm_open", {"x": {0: Dim("n", min=1, max=64)}},
            [(torch.randn(n, 5, 8, dtype=torch.float64),) for n in (1, 33)])


def test_cells():
    torch.manual_seed(3)
    for k, (kind, more) in enumerate([(nn.LSTMCell, {}), (nn.GRUCell, {}), (nn.RNNCell, {}), (nn.RNNCell, {"nonlinearity": "relu", "bias": False})]):
        model, x = Layer(kind(6, 9, **more)).eval(), torch.randn(4, 6)
        state = [torch.randn(4, 9) for _ in range(2 if kind is nn.LSTMCell else 1)]
        for functional in (False, True):
            compare(model, (x,), f"cell{k}", functional=functional)
            compare(model, (x, *state), f"cell{k}_state", functional=functional)
        batch = {0: Dim("n", min=1, max=64)}
        compare(model, (x, *state), f"cell{k}_open", {"x": batch, "state": tuple(batch for _ in state)}, [(torch.randn(7, 6), *(torch.randn(7, 9) for _ in state))])
        compare(model.double(), (x[0].double(),), f"cell{k}_flat")


def test_functional_dialect():
    torch.manual_seed(2)
    for k, (kind, more) in enumerate(LAYERS):
        compare(Layer(kind(6, 9, 1, **more)).eval(), (torch.randn(3, 2, 6),), f"rnn_f{k}", functional=True)


class Bags(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 7, mode=mode)

    def forward(self, ids):
        return self.bag(ids)


def test_bags():
    torch.manual_seed(3)
    for mode in ("sum", "mean", "max"):
        compare(Bags(mode).eval(), (torch.randint(0, 20, (5, 3)),), f"bag_{mode}")
    bad = common.SCRATCH / "bad.npz"
    common.np.savez(bad, input_0=common.np.full((5, 3), 20))
    path = common.SCRATCH / "bag_sum.cierge"
    r = common.cli("run", path, "--inputs", bad, env={"CIERGE_LIBTORCH": "none"}, check=3)
    assert "out of range" in r.stderr, r.stderr


class Diff(nn.Module):
    def forward(self, x, y):
        return torch.diff(x), torch.diff(x, n=2, dim=0), torch.diff(x, dim=0, prepend=y, append=y), torch.diff(x > 0)


def test_diff():
    torch.manual_seed(4)
    x, y = torch.randn(6, 5), torch.randn(2, 5)
    compare(Diff(), (x, y), "diff", {"x": {0: Dim("n", min=4, max=64)}, "y": None}, [(torch.randn(4, 5), y)])
    compare(Diff(), (x, y), "diff", functional=True)


if __name__ == "__main__":
    common.main(globals())
