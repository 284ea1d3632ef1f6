"""Convolutions of every kind, alone and in nets whose values lie channels-last: PyTorch's results on each target, for any number of threads."""
import copy

import torch
import torch.nn.functional as F
from torch import nn

import common

Dim = torch.export.Dim
TARGETS = common.TARGETS


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else [t for v in value for t in flat(v)]


def check(got, want, exact):
    """As exact as PyTorch, or as PyTorch has it."""
    error, eager = ((y.double() - exact.double()).abs().max().item() for y in (got, want))
    if got.shape != want.shape or got.dtype != want.dtype or not error <= 2 * eager:
        common.close(got, want)


def compare(model, inputs, name, dynamic=None, others=(), functional=False, targets=TARGETS):
    path = common.export(model.eval(), inputs, name, dynamic, functional)
    for target in targets:
        artifact, _ = common.compile(path, "--require-native", "--target", target, env={"CIERGE_LIBTORCH": "none"})
        for x in (inputs, *others):
            with torch.no_grad():
                want = flat(model(*x))
                exact = flat(model.double()(*[t.double() for t in x])) if x[0].dtype != torch.float64 else want
                model.to(x[0].dtype)
            got = common.run_native(artifact, **{f"input_{i}": t.numpy() for i, t in enumerate(x)})
            for i, w in enumerate(want):
                check(torch.as_tensor(got[f"output_{i}"]), w, exact[i])


class Alone(nn.Module):
    """Several convolutions of one input: what leaves is in the model's order."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return [layer(x) for layer in self.layers]


class Between(nn.Module):
    """The same between two others, so that its operand and its result lie channels-last."""

    def __init__(self, layers, dims):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.layers = nn.ModuleList(layers)
        self.before = conv(layers[0].in_channels, layers[0].in_channels, 1)
        self.after = nn.ModuleList(conv(l.out_channels, 3, 1) for l in layers)

    def forward(self, x):
        x = torch.relu(self.before(x))
        return [after(torch.tanh(layer(x))) for layer, after in zip(self.layers, self.after)]


class Half(nn.Module):
    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net.to(dtype), dtype

    def forward(self, x):
        return [y.float() for y in self.net(x.to(self.dtype))]


def check_half(model, x, name, targets=TARGETS):
    """Not PyTorch's bits: without bfloat16 products in the processor it rounds what a transposed convolution adds up, tap by tap."""
    path = common.export(model.eval(), (x,), name)
    with torch.no_grad():
        want = model(x)
        exact = model.net.double()(x.to(model.dtype).double())
        model.net.to(model.dtype)
    for target in targets:
        artifact, _ = common.compile(path, "--require-native", "--target", target, env={"CIERGE_LIBTORCH": "none"})
        got = common.run_native(artifact, input_0=x.numpy())
        for i, w in enumerate(want):
            check(torch.as_tensor(got[f"output_{i}"]), w, exact[i])


def both(layers, x, name, **more):
    dims = x.dim() - 2
    compare(Alone(layers), (x,), name, targets=TARGETS[::2], **more)
    compare(Between(layers, dims), (x,), name + "_between", targets=TARGETS[1:], **more)
    if not more:
        check_half(Half(copy.deepcopy(Alone(layers)), torch.float16), x, name + "_f16", TARGETS[1:2])
        check_half(Half(copy.deepcopy(Between(layers, dims)), torch.bfloat16), x, name + "_bf16", TARGETS[1:2])


def test_plain():
    torch.manual_seed(0)
    forms = [(24, 40, 1), (24, 7, 1, 2), (24, 33, 3, 1, 1), (24, 16, 3, 2, 1), (24, 100, 5, 1, 2), (24, 9, (3, 1), 1, (1, 0)), (24, 20, 3, 1, 2, 2),
             (24, 31, 2, 2), (24, 12, 7, 3, 6, 2)]
    both([nn.Conv2d(*f) for f in forms], torch.randn(2, 24, 15, 13), "plain")


def test_few_channels():
    torch.manual_seed(1)
    for ic in (1, 3, 5):
        layers = [nn.Conv2d(ic, 32, 3, 2, 1), nn.Conv2d(ic, 70, 7, 2, 3, bias=False), nn.Conv2d(ic, 5, 4, 4), nn.Conv2d(ic, 8, 3, padding="same", dilation=2)]
        both(layers, torch.randn(3, ic, 21, 34), f"few{ic}")


def test_groups():
    torch.manual_seed(2)
    layers = [nn.Conv2d(24, 48, 3, 1, 1, groups=4), nn.Conv2d(24, 12, 1, groups=2), nn.Conv2d(24, 96, 3, 2, 1, groups=12)]
    both(layers, torch.randn(2, 24, 9, 11), "groups")


class OneTap(nn.Module):
    """Kernels of one tap over images in the model's order: of a view, of some channels, with a residual behind, with weights of the call."""

    def __init__(self):
        super().__init__()
        self.plain, self.some = nn.Conv2d(24, 60, 1, groups=3), nn.Conv2d(8, 50, 1)
        self.line, self.room = nn.Conv1d(24, 24, 1, groups=2, bias=False), nn.Conv3d(24, 9, 1)

    def forward(self, x, w):
        turned = x.transpose(2, 3)
        grown = F.conv2d(x, w, groups=2)
        return [F.gelu(self.plain(x)), self.plain(turned), self.some(x[:, 8:16]), self.line(x.flatten(2)) + x.flatten(2), self.room(x.unflatten(3, (-1, 1))),
                grown * w[:, :1, 0, 0].view(1, -1, 1, 1), self.plain(x[0]), F.conv2d(x, w.transpose(0, 1).contiguous().transpose(0, 1), groups=2)]


def test_one_tap():
    torch.manual_seed(16)
    n, h, w = Dim("n", min=1, max=9), Dim("h", min=1, max=60), Dim("w", min=1, max=60)
    weight = torch.randn(70, 12, 1, 1)
    others = [(torch.randn(a, 24, b, c), weight) for a, b, c in ((1, 1, 1), (3, 5, 3), (1, 28, 28), (2, 1, 50))]
    compare(OneTap(), (torch.randn(2, 24, 19, 23), weight), "one_tap", dynamic=({0: n, 2: h, 3: w}, None), others=others)
    compare(OneTap().double(), (torch.randn(2, 24, 19, 23).double(), weight.double()), "one_tap_f64")
    compare(OneTap().half(), (torch.randn(2, 24, 19, 23).half(), weight.half()), "one_tap_f16")


def test_depthwise():
    torch.manual_seed(3)
    for c in (16, 37, 144):
        forms = [(3, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 2), (3, 1, 2, 2), (2, 1, 0), (9, 1, 4), ((1, 7), 1, (0, 3))]
        both([nn.Conv2d(c, c, *f, groups=c, bias=c != 16) for f in forms], torch.randn(2, c, 14, 11), f"depthwise{c}")
    both([nn.Conv2d(16, 32, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 3, 1, 1, groups=16)], torch.randn(1, 16, 70, 140), "multiplied")


def test_other_dimensions():
    torch.manual_seed(4)
    both([nn.Conv1d(16, 40, 3, padding=1), nn.Conv1d(16, 16, 5, groups=16, stride=2), nn.Conv1d(16, 8, 100, padding=80), nn.Conv1d(16, 20, 3, dilation=4)], torch.randn(2, 16, 77), "one")
    both([nn.Conv3d(10, 24, 3, padding=1), nn.Conv3d(10, 5, (1, 3, 2), stride=2), nn.Conv3d(10, 10, 3, padding=1, groups=10), nn.Conv3d(10, 4, 5, padding=2)], torch.randn(2, 10, 6, 7, 8), "three")
    both([nn.ConvTranspose1d(16, 20, 4, 3, 1), nn.ConvTranspose1d(16, 20, 2, 3)], torch.randn(2, 16, 19), "one_back")
    both([nn.ConvTranspose3d(10, 9, 3, 2, 1, 1)], torch.randn(1, 10, 3, 4, 5), "three_back")


def test_transposed():
    torch.manual_seed(5)
    forms = [(16, 24, 2, 2), (16, 9, 3, 2, 1, 1), (16, 5, 4, 2, 1), (16, 40, 3, 1, 1), (16, 8, 5, 3, 2, 1, 1, True, 2), (16, 12, 3, 2, 1, 1, 2, False), (16, 6, 1, 3)]
    layers = [nn.ConvTranspose2d(*f) for f in forms]
    layers.append(nn.ConvTranspose2d(16, 12, 3, 2, 1, output_padding=1, groups=4, dilation=2))
    both(layers, torch.randn(2, 16, 8, 7), "transposed")


def test_long_kernels():
    """Kernels that hang out of their inputs: taps that none of a block's pixels sees are left out."""
    torch.manual_seed(15)
    line = [nn.Conv1d(32, 48, 128, padding=64, groups=4), nn.Conv1d(32, 40, 63, 2, 70, groups=2), nn.Conv1d(32, 8, 31, dilation=5, padding=75, groups=2), nn.Conv1d(32, 16, 200, padding=400)]
    both(line, torch.randn(2, 32, 45), "long")
    plane = [nn.Conv2d(16, 24, (31, 3), padding=(15, 1), groups=2), nn.Conv2d(16, 20, 21, 3, 10), nn.Conv2d(16, 8, (40, 2), (2, 1), (50, 1), groups=4)]
    both(plane, torch.randn(2, 16, 12, 11), "long_plane")
    dim = torch.export.Dim("length", max=300)
    compare(Alone(line[:1]), (torch.randn(2, 32, 45),), "long_open", dynamic=({2: dim},), others=[(torch.randn(2, 32, n),) for n in (1, 5, 250)], targets=TARGETS[1:2])


class ByWeight(nn.Module):
    def forward(self, x, w, v, b):
        return F.conv2d(x, w, b, 1, 1), F.conv_transpose2d(F.relu(F.conv2d(x, w)), v, None, 2), F.conv2d(x[:, 2:18], w[:16, :1], b[::2][:16], 1, 1, 1, 16), F.conv2d(x[0], w)


def test_weights_as_inputs():
    torch.manual_seed(6)
    x = torch.randn(2, 20, 9, 10), torch.randn(40, 20, 3, 3), torch.randn(40, 6, 3, 3), torch.randn(40)
    compare(ByWeight(), x, "weights")
    compare(ByWeight(), tuple(t.half() for t in x), "weights_f16")

    class Long(nn.Module):
        def forward(self, x, w, v):
            return F.conv1d(x, w, None, 1, 64, 1, 4), F.conv_transpose1d(x, v, None, 3, 1, 0, 2), F.conv1d(x, w.flip(2)[:, :, ::2], None, 2, 64, 1, 4)

    compare(Long(), (torch.randn(2, 32, 45), torch.randn(44, 8, 128) / 32, torch.randn(32, 9, 8) / 8), "long_weights")


def test_precisions():
    torch.manual_seed(7)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        layers = [nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 40, 1), nn.ConvTranspose2d(16, 8, 2, 2)]
        x = torch.randn(1, 16, 9, 10)
        net = Between(layers, 2)
        if dtype == torch.float64:
            compare(net.double(), (x.double(),), "f64", targets=TARGETS[1:])
        else:
            check_half(Half(net, dtype), x, str(dtype)[6:])


def test_depths_of_halves():
    """Weights of half precision are made wide piece by piece: several taps, parts of one, for many pixels; for few, in each tile."""
    torch.manual_seed(17)
    layers = [nn.Conv2d(300, 20, 2), nn.Conv2d(300, 9, 1), nn.Conv2d(300, 25, 3, groups=5, padding=2), nn.ConvTranspose2d(300, 12, 2, 2), nn.Conv2d(300, 16, 9, 1, 4, groups=4)]
    for dtype, shape in (torch.bfloat16, (1, 300, 5, 7)), (torch.float16, (2, 300, 3, 4)):
        check_half(Half(Alone(layers), dtype), torch.randn(shape), "depths")


def test_winograd():
    """The error against float64 is at most four times PyTorch's."""
    torch.manual_seed(10)
    layers = [nn.Conv2d(32, 32, 3, 1, 1), nn.Conv2d(32, 72, 3, padding=0), nn.Conv2d(32, 20, 3, 1, 2), nn.Conv2d(32, 64, 3, padding="same", bias=False)]
    model = Between(layers, 2).eval()
    sizes = [(2, 32, 37, 30), (1, 32, 64, 21), (3, 32, 5, 7), (1, 32, 4, 4)]
    n, h, w = Dim("n", min=1, max=8), Dim("h", min=4, max=100), Dim("w", min=4, max=100)
    path = common.export(model, (torch.randn(sizes[0]),), "winograd", {"x": {0: n, 2: h, 3: w}})
    for target in TARGETS[1:]:
        artifact, _ = common.compile(path, "--require-native", "--target", target)
        assert "winograd" in common.cli("compile", path, "-o", artifact, "--target", target, "--emit", "c", check=0).stdout
        for size in sizes:
            x = torch.randn(size)
            got = common.run_native(artifact, input_0=x.numpy())
            with torch.no_grad():
                wants, exacts = model(x), model.double()(x.double())
                model.float()
            for i, (want, exact) in enumerate(zip(wants, exacts)):
                error, eager = (torch.as_tensor(got[f"output_{i}"]).double() - exact).abs().max().item(), (want.double() - exact).abs().max().item()
                assert error <= 4 * eager, (target, size, i, error, eager)


class Net(nn.Module):
    """What values that lie channels-last meet: normalisation, pooling, concatenation, residuals, resizing, reshapes, reductions."""

    def __init__(self):
        super().__init__()
        def unit(a, b, k=3, s=1, g=1):
            return nn.Sequential(nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(b), nn.ReLU6())
        self.first, self.deep, self.point = unit(3, 16, 3, 2), unit(16, 16, 3, 1, 16), unit(16, 16, 1)
        self.group = nn.GroupNorm(4, 16)
        self.down, self.up = unit(16, 32, 3, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join, self.gate, self.head = unit(48, 32), nn.Conv2d(32, 32, 1), nn.Linear(32, 10)
        self.fc = nn.Linear(8 * 4 * 4, 5)
        self.small = nn.Conv2d(32, 8, 1)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2), nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)

    def forward(self, x):
        a = self.first(x)
        b = a + self.point(self.deep(a))
        c = self.down(F.max_pool2d(b, 3, 1, 1))
        d = self.join(torch.cat([self.up(c), b, F.interpolate(c, scale_factor=2.0)[:, :16]], 1))
        d = d * torch.sigmoid(self.gate(d.mean((2, 3), keepdim=True)))
        e = self.group(b)
        p = F.adaptive_avg_pool2d(self.small(d), 4)
        tokens = d.flatten(2).transpose(1, 2)
        return self.head(d.mean((2, 3))), self.fc(p.flatten(1)), e, F.avg_pool2d(d, 2), tokens.softmax(-1), F.layer_norm(tokens, (32,)), d.permute(0, 2, 3, 1), F.pixel_shuffle(c, 2)


def test_net():
    torch.manual_seed(8)
    x = torch.randn(2, 3, 32, 32)
    for functional in (False, True):
        compare(Net(), (x,), f"net{functional}", functional=functional)


def test_open_sizes():
    torch.manual_seed(9)
    n, h = Dim("n", min=1, max=9), Dim("h", min=2, max=40)
    others = [(torch.randn(k, 3, 8 * s, 32),) for k, s in ((1, 2), (5, 7), (3, 4))]
    compare(Net(), (torch.randn(2, 3, 32, 32),), "open", {"x": {0: n, 2: 8 * h}}, others)


def test_folded_normalisation():
    """A normalisation behind a convolution whose statistics are constant costs nothing."""
    for functional in (False, True):
        path = common.export(nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU()), (torch.randn(1, 8, 10, 10),), "folded", functional=functional)
        artifact, _ = common.compile(path)
        text = common.cli("inspect", artifact, check=0).stdout
        assert "rsqrt" not in text and "batch_norm" not in text, text


if __name__ == "__main__":
    common.main(globals())
