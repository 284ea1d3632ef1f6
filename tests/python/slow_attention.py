"""Attention that a model writes out is one kernel, gives what PyTorch gives, and is left alone where its parts are wanted."""
import math

import torch
from torch import nn

import common
import cierge

NAN, INF = float("nan"), float("inf")


class Written(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *args):
        return self.f(*args)


def masked(q, k, v, mask):
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
    return nn.functional.dropout(torch.softmax(s, -1), 0.1, False) @ v


def filled(q, k, v, mask):
    s = torch.matmul(q * 0.125, k.transpose(-2, -1)).masked_fill(mask < -0.5, -INF)
    return torch.matmul(s.softmax(-1, dtype=torch.float32).type_as(v), v).transpose(1, 2).reshape(q.shape[0], q.shape[2], -1)


def kept_and_added(q, k, v, mask):  # as GPT-2 wrote it
    causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    s = torch.where(causal, q @ k.mT * 0.5, torch.finfo(q.dtype).min) + mask
    return torch.softmax(s, -1) @ v


def batched(q, k, v, mask):
    b, h = q.shape[:2]
    three = [x.reshape(b * h, -1, x.shape[-1]) for x in (q, k, v)]
    s = torch.bmm(three[0], three[1].transpose(1, 2)).view(b, h, -1, k.shape[2]) * 0.3 + mask
    return torch.bmm(torch.softmax(s.view(b * h, -1, k.shape[2]), -1), three[2]).view(b, h, -1, v.shape[-1]) + 1


def plain(q, k, v, mask):
    return torch.softmax(q[0, 0] @ k[0, 0].t(), 1) @ v[0, 0]


def one_head_of_keys(q, k, v, mask):
    return torch.softmax(q @ k[:, :1].mT + mask, -1) @ v[:, :1]


FOUND = masked, filled, kept_and_added, batched, plain, one_head_of_keys


def scores_wanted(q, k, v, mask):
    s = q @ k.mT
    return torch.softmax(s, -1) @ v, s


def weights_wanted(q, k, v, mask):
    p = torch.softmax(q @ k.mT, -1)
    return p @ v, p


def other_dimension(q, k, v, mask):
    return torch.softmax(q @ k.mT, -2) @ v


def scaled_after_mask(q, k, v, mask):
    return torch.softmax((q @ k.mT + mask) * 0.5, -1) @ v


LEFT = scores_wanted, weights_wanted, other_dimension, scaled_after_mask


def inputs(dtype=torch.float32, batch=2, heads=3, queries=17, keys=30, width=64, out=48):
    torch.manual_seed(queries)
    shape = lambda n, w: (batch, heads, n, w)
    mask = torch.randn(batch, 1, queries, keys).masked_fill(torch.rand(batch, 1, queries, keys) < 0.2, -INF)
    return tuple(t.to(dtype) for t in (torch.randn(shape(queries, width)), torch.randn(shape(keys, width)), torch.randn(shape(keys, out)), mask))


def run(artifact, args):
    context = cierge.load(artifact).context(threads=2)
    used = {spec.name for spec in context.program.inputs}
    for i, x in enumerate(args):
        context.set_input(i, x)
    context.call()
    return [torch.from_dlpack(context.output(i)).clone() for i in range(len(context.program.outputs))], used


def kernels(artifact):
    text = common.cli("inspect", artifact, check=0).stdout
    return [line.split()[0] for line in text[text.index("native kernels"):text.index("LibTorch regions")].splitlines()[1:]]


def check(f, args, functional, dynamic=None, others=(), options=()):
    path = common.export(Written(f), args, f.__name__, dynamic, functional)
    artifact, _ = common.compile(path, "--require-native", *options)
    for x in (args, *others):
        got, _ = run(artifact, x)
        want = f(*x)
        for g, w in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
            common.close(g, w)
    return sum("attention" in k for k in kernels(artifact))


def test_found():
    for f in FOUND:
        for functional in (False, True):
            assert check(f, inputs(), functional) == 1, f"{f.__name__}{' functional' if functional else ''}"


def test_any_size():
    b, q, k = (torch.export.Dim(n, min=2, max=2000) for n in "bqk")
    dynamic = ({0: b, 2: q}, {0: b, 2: k}, {0: b, 2: k}, {0: b, 2: q, 3: k})
    others = [inputs(batch=4, queries=5, keys=1100), inputs(queries=33, keys=2), inputs(batch=3, queries=7, keys=513)]
    for f in (masked, filled, kept_and_added):
        for functional in (False, True):
            found = check(f, inputs(), functional, (dynamic,), others)
            assert found == 1 or functional, f.__name__


def test_double_and_targets():
    for target in common.TARGETS:
        assert check(masked, inputs(torch.float64), False, options=("--target", target)) == 1
        assert check(filled, inputs(width=5, out=3), False, options=("--target", target)) == 1


def test_what_is_not_finite():
    """Rows that are masked altogether, infinite and NaN scores: what the written form gives."""
    q, k, v, mask = inputs()
    mask[0, 0, 3], mask[0, 0, 4, 5], mask[1, 0, 2, 2], q[1, 1, 6, 0] = -INF, INF, NAN, NAN
    for f in (masked, filled, kept_and_added):
        assert check(f, (q, k, v, mask), False) == 1


def test_left_alone():
    for f in LEFT:
        assert check(f, inputs(), False) == 0, f.__name__
    assert check(masked, inputs(torch.bfloat16), False) == 0  # each of its nodes rounds


if __name__ == "__main__":
    common.main(globals())
