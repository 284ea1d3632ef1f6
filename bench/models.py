"""The ten model families of the benchmark: own definitions or `transformers` classes, random weights, fixed seeds.

build(name) gives (module in eval mode, example inputs). Nothing here knows of any engine."""
import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, cin, mid, stride):
        super().__init__()
        cout = 4 * mid
        self.conv1, self.bn1 = nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2, self.bn2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv3, self.bn3 = nn.Conv2d(mid, cout, 1, bias=False), nn.BatchNorm2d(cout)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """ResNet with bottlenecks (He et al. 2015); (3, 4, 6, 3) is resnet50."""

    def __init__(self, blocks=(3, 4, 6, 3), classes=1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        layers, cin = [], 64
        for i, n in enumerate(blocks):
            for k in range(n):
                layers.append(Bottleneck(cin, 64 << i, 2 if i and not k else 1))
                cin = 256 << i
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(cin, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layers(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Inverted(nn.Module):
    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        mid = cin * expand
        def conv(a, b, k, s=1, g=1):
            return [nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(b), nn.ReLU6()]
        layers = conv(cin, mid, 1) if expand != 1 else []
        layers += conv(mid, mid, 3, stride, mid) + conv(mid, cout, 1)[:2]
        self.body, self.residual = nn.Sequential(*layers), stride == 1 and cin == cout

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Module):
    """Sandler et al. 2018, width 1."""

    def __init__(self, classes=1000):
        super().__init__()
        plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
        layers, cin = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()], 32
        for expand, cout, n, stride in plan:
            for k in range(n):
                layers.append(Inverted(cin, cout, 1 if k else stride, expand))
                cin = cout
        layers += [nn.Conv2d(cin, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
        self.features, self.fc = nn.Sequential(*layers), nn.Linear(1280, classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class UNet(nn.Module):
    """16 … 128 channels, skip connections by concatenation, transposed convolutions upwards."""

    def __init__(self, width=(16, 32, 64, 128), classes=4):
        super().__init__()
        def double(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU())
        self.down = nn.ModuleList(double(a, b) for a, b in zip((3,) + width, width))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(width, width[1:]))
        self.join = nn.ModuleList(double(2 * a, a) for a in width[:-1])
        self.head = nn.Conv2d(width[0], classes, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for i in reversed(range(len(self.up))):
            x = self.join[i](torch.cat([self.up[i](x), skips[i]], 1))
        return self.head(x)


class LSTM(nn.Module):
    def __init__(self, width=512, layers=2):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(width, width, layers, batch_first=True), nn.Linear(width, 64)

    def forward(self, x):
        return self.fc(self.lstm(x)[0])


class DLRM(nn.Module):
    """Embedding bags beside a small network on dense features, pairwise products, a network on top (Naumov et al. 2019)."""

    def __init__(self, tables=26, rows=10000, width=32, dense=13):
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables))
        self.bottom = nn.Sequential(nn.Linear(dense, 256), nn.ReLU(), nn.Linear(256, width), nn.ReLU())
        n = tables + 1
        self.top = nn.Sequential(nn.Linear(width + n * (n - 1) // 2, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 1))
        i, j = torch.tril_indices(n, n, -1)
        self.register_buffer("pairs", i * n + j)

    def forward(self, dense, ids):  # ids: [tables, batch, per bag]
        x = self.bottom(dense)
        t = torch.stack([x] + [bag(ids[k]) for k, bag in enumerate(self.bags)], 1)
        z = torch.bmm(t, t.transpose(1, 2)).flatten(1)
        return torch.sigmoid(self.top(torch.cat([x, z[:, self.pairs]], 1)))


class Chains(nn.Module):
    """Pointwise chains between normalisations: residuals, gelu, softmax over rows; no matrix product."""

    def __init__(self, width=1024, depth=6):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.scales = nn.ParameterList(nn.Parameter(torch.randn(width) * 0.1 + 1) for _ in range(depth))

    def forward(self, x, y):
        for norm, scale in zip(self.norms, self.scales):
            h = F.gelu(norm(x) * scale + y)
            x = x + h * torch.sigmoid(y) - torch.tanh(h) * 0.1
            y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return torch.softmax(x, -1), y


class Tiny(nn.Module):
    """200 operators on small tensors: what an engine costs when there is nothing to compute."""

    def __init__(self, n=200):
        super().__init__()
        self.n, self.w = n, nn.Parameter(torch.randn(64) * 0.1)

    def forward(self, x):
        y = x
        for i in range(self.n // 5):
            y = torch.relu(y + self.w) * 0.9
            y = (y - x * 0.01).clamp(-3, 3)
        return y


def transformer(kind, **size):
    import transformers as t
    t.logging.set_verbosity_error()
    if kind == "gpt2":
        model = t.GPT2LMHeadModel(t.GPT2Config(use_cache=False, **size))
        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model
            def forward(self, ids):
                return self.model(input_ids=ids, use_cache=False).logits
    elif kind == "bert":
        model = t.BertModel(t.BertConfig(**size), add_pooling_layer=False)
        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model
            def forward(self, ids, mask):
                return self.model(input_ids=ids, attention_mask=mask).last_hidden_state
    else:
        model = t.ViTForImageClassification(t.ViTConfig(num_labels=1000, **size))
        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model
            def forward(self, x):
                return self.model(pixel_values=x).logits
    return Wrapped()


def image(h=224, w=224, n=1):
    return torch.randn(n, 3, h, w)


FAMILIES = {
    "resnet50": (lambda: ResNet(), lambda: (image(),)),
    "mobilenet_v2": (lambda: MobileNetV2(), lambda: (image(),)),
    "unet": (lambda: UNet(), lambda: (image(256, 256),)),
    "lstm": (lambda: LSTM(), lambda: (torch.randn(1, 64, 512),)),
    "dlrm": (lambda: DLRM(), lambda: (torch.randn(128, 13), torch.randint(0, 10000, (26, 128, 4)))),
    "chains": (lambda: Chains(), lambda: (torch.randn(512, 1024), torch.randn(512, 1024))),
    "tiny": (lambda: Tiny(), lambda: (torch.randn(32, 64),)),
    "gpt2": (lambda: transformer("gpt2"), lambda: (torch.randint(0, 50257, (1, 64)),)),
    "bert": (lambda: transformer("bert"), lambda: (torch.randint(0, 30522, (1, 128)), torch.ones(1, 128, dtype=torch.int64))),
    "vit": (lambda: transformer("vit"), lambda: (image(),)),
}


# Sizes that nobody tuned for, of the families that they fit.
SIZES = {
    "resnet50, 3 images": ("resnet50", lambda: (image(n=3),)),
    "resnet50, 160x160": ("resnet50", lambda: (image(160, 160),)),
    "mobilenet_v2, 3 images": ("mobilenet_v2", lambda: (image(n=3),)),
    "mobilenet_v2, 160x160": ("mobilenet_v2", lambda: (image(160, 160),)),
    "unet, 160x160": ("unet", lambda: (image(160, 160),)),
    "vit, 3 images": ("vit", lambda: (image(n=3),)),
    "lstm, 3 times 37 steps": ("lstm", lambda: (torch.randn(3, 37, 512),)),
    "dlrm, 3 rows": ("dlrm", lambda: (torch.randn(3, 13), torch.randint(0, 10000, (26, 3, 4)))),
    "gpt2, 37 tokens": ("gpt2", lambda: (torch.randint(0, 50257, (1, 37)),)),
    "bert, 37 tokens": ("bert", lambda: (torch.randint(0, 30522, (1, 37)), torch.ones(1, 37, dtype=torch.int64))),
}

# Programs with symbolic sizes: inputs by those sizes, which dimension of which input is which size, the hint, other sizes.
DYNAMIC = {
    "resnet50": (lambda n: (image(n=n),), [{0: 0}], (2,), [(1,), (3,)]),
    "mobilenet_v2": (lambda n: (image(n=n),), [{0: 0}], (2,), [(1,), (3,)]),
    "unet": (lambda n: (image(256, 256, n),), [{0: 0}], (2,), [(1,), (3,)]),
    "lstm": (lambda n: (torch.randn(n, 64, 512),), [{0: 0}], (2,), [(1,), (3,)]),
    "dlrm": (lambda n: (torch.randn(n, 13), torch.randint(0, 10000, (26, n, 4))), [{0: 0}, {1: 0}], (128,), [(37,), (200,)]),
    "chains": (lambda n: (torch.randn(n, 1024), torch.randn(n, 1024)), [{0: 0}, {0: 0}], (512,), [(37,), (600,)]),
    "tiny": (lambda n: (torch.randn(n, 64),), [{0: 0}], (32,), [(37,), (100,)]),
    "gpt2": (lambda t: (torch.randint(0, 50257, (1, t)),), [{1: 0}], (64,), [(37,), (100,)]),
    "bert": (lambda n, t: (torch.randint(0, 30522, (n, t)), torch.ones(n, t, dtype=torch.int64)), [{0: 0, 1: 1}] * 2, (2, 64), [(1, 37), (3, 100)]),
    "vit": (lambda n: (image(n=n),), [{0: 0}], (2,), [(1,), (3,)]),
}


def build(name, seed=0):
    torch.manual_seed(seed)
    family, inputs = SIZES.get(name, (name, None))
    make, usual = FAMILIES[family]
    model = make().eval()
    for m in model.modules():  # fresh statistics would make batch norms the identity
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -0.2, 0.2), nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.8, 1.2), nn.init.uniform_(m.bias, -0.1, 0.1)
    return model, (inputs or usual)()
