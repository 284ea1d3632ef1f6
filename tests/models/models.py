"""Small models that tests and benchmarks export: own definitions, random weights, fixed seeds."""
import torch
from torch import nn


class MLP(nn.Module):
    def __init__(self, width=(37, 64, 50, 10)):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(width, width[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return torch.softmax(self.layers[-1](x), dim=-1)


class CNN(nn.Module):
    def __init__(self, channels=12, classes=7):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * channels)
        self.fc = nn.Linear(2 * channels, classes)
        for bn in (self.bn1, self.bn2):
            nn.init.uniform_(bn.running_mean, -0.5, 0.5), nn.init.uniform_(bn.running_var, 0.5, 2)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.bn2(self.conv2(x)))
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x)


def bert(hidden=96, heads=3, layers=2):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=500, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=hidden * 5 // 2, max_position_embeddings=64)

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = BertModel(config, add_pooling_layer=False)

        def forward(self, ids, mask):
            return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state

    return Bert()


class Counter(nn.Module):
    """Keeps state between calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.add_(x.sum(0))
        self.total[1:].mul_(0.5)
        return self.total * 2


class Branchy(nn.Module):
    def forward(self, x):
        y = torch.cond(x.sum() > 0, lambda a: a.sin() + 1, lambda a: a.cos() - 1, (x,))
        values, indices = torch.topk(y, 2)
        return {"out": y * 2, "top": [values, indices, None, x.shape[0] * 2]}, torch.nonzero(x > 0)


class Loop(nn.Module):
    def forward(self, x, n):
        def unfinished(i, y):
            return i > 0

        def step(i, y):
            return i - 1, y * 0.5 + y.sum()

        from torch._higher_order_ops import while_loop
        return while_loop(unfinished, step, (n, x))
