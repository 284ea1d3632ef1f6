"""Operators that become others: every form of an equation, a window, a norm, against PyTorch; natively where it says so."""
import json

import torch
import torch.nn.functional as F
import torch.nn.modules.linear_cross_entropy  # its operators are registered by it

import common
from common import SCRATCH
import cierge

EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (3, 4), (4, 5)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("i,j->ij", (3,), (4,)), ("i,i->", (5,), (5,)),
    ("ij->", (3, 4)), ("ij->ji", (3, 4)), ("ij->i", (3, 4)), ("Bb,ab", (3, 4), (2, 4)), ("ij , jk -> ik", (3, 4), (4, 5)), ("ij,jk->kji", (3, 4), (4, 5)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("...ij,...jk->...ik", (2, 3, 4, 5), (3, 5, 6)), ("i...,j...->ij...", (3, 2, 2), (4, 1, 2)),
    ("...->...", (2, 3)), ("a...,...b->a...b", (2, 3), (3, 4)), ("ij,kj,kl->il", (3, 4), (5, 4), (5, 6)), ("ab,cd,ef->", (2, 3), (1, 2), (3, 2)),
    ("bclhn,bcshn,bhcls,bcshp->bclhp", (1, 2, 4, 3, 5), (1, 2, 4, 3, 5), (1, 3, 2, 4, 4), (1, 2, 4, 3, 6)), ("ab,bc,ac->", (2, 3), (3, 4), (2, 4)),
    ("ij,jk->ik", (3, 1), (4, 5)), ("ij,ij,ij->ij", (1, 4), (1, 4), (3, 4)), ("i,i,i->i", (1,), (4,), (1,)), ("xy,x->", (1, 3), (4,)),
    ("ij,jk->ik", (0, 4), (4, 5)), ("ij,jk->ik", (3, 0), (0, 5)), ("ii->i", (4, 4)), ("ii,ij->j", (4, 4), (4, 3)), ("iji,i->j", (3, 2, 3), (3,)),
]


def compiled(f, x, name, dynamic=None):
    path, out, report = common.export(common.module(f), x, name, dynamic), SCRATCH / f"{name}.cierge", SCRATCH / f"{name}.json"
    cierge.compile(path, output=out, report=str(report))
    return cierge.load(out).context(threads=1), json.load(open(report))["nodes"]["torch"]


def same(context, f, x, rtol=1e-5):
    want = f(*x)
    for g, w in zip(context.run(*x), want if isinstance(want, tuple) else (want,)):
        torch.testing.assert_close(torch.from_dlpack(g), w, rtol=rtol, atol=rtol, equal_nan=True)


def check(f, x, name, native=True, rtol=1e-5):
    context, left = compiled(f, x, name)
    same(context, f, x, rtol)
    assert (left == 0) == native, f"{name}: {left} nodes in LibTorch"


def random(dtype, *shapes):
    g = torch.Generator().manual_seed(0)
    return tuple((torch.randn(s, generator=g) * 2).to(dtype) for s in shapes)


def test_einsum():
    for k, (equation, *shapes) in enumerate(EQUATIONS):
        check(lambda *x: torch.einsum(equation, *x), random(torch.float32, *shapes), f"einsum{k}")
    for k in (0, 2, 12, 18, 26):
        equation, *shapes = EQUATIONS[k]
        check(lambda *x: torch.einsum(equation, *x), random(torch.float64, *shapes), f"einsum64_{k}", rtol=1e-12)
        check(lambda *x: torch.einsum(equation, *x), random(torch.bfloat16, *shapes), f"einsum16_{k}", rtol=2e-2)
        check(lambda *x: torch.einsum(equation, *x), random(torch.int64, *shapes), f"einsum_i{k}", native=False, rtol=0)


def test_einsum_of_any_length():
    d = torch.export.Dim("d", min=2, max=64)
    f = lambda x, y: (torch.einsum("bihd,bjhd->bhij", x, y), torch.tensordot(x, y, dims=([1, 3], [1, 3])), torch.einsum("bihd->bd", x))  # noqa: E731
    context, left = compiled(f, random(torch.float32, (2, 5, 3, 4), (2, 5, 3, 4)), "einsum_d", (({1: d}, {1: d}),))
    assert not left
    for n in (5, 2, 17):
        same(context, f, random(torch.float32, (2, n, 3, 4), (2, n, 3, 4)))


def test_tensordot():
    for k, (dims, *shapes) in enumerate([(1, (2, 3), (3, 4)), (2, (2, 3, 4), (3, 4, 5)), (0, (2,), (3,)), (([0, -1], [1, 0]), (2, 3, 4), (4, 2, 5)), (1, (2, 1), (3, 4))]):
        check(lambda x, y: torch.tensordot(x, y, dims=dims), random(torch.float32, *shapes), f"tensordot{k}")


def test_windows_as_columns():
    for i, shape in enumerate(((2, 3, 9, 11), (3, 9, 11))):
        for k, window in enumerate([(3, 1, 1, 1), ((3, 2), (1, 2), (0, 1), (2, 1)), (1, 1, 0, 1), ((2, 3), 2, (2, 1), 3)]):
            for dtype in (torch.float32, torch.bfloat16):
                check(lambda x: F.unfold(x, *window), random(dtype, shape), f"unfold{i}_{k}_{dtype}", rtol=0)


def test_columns_as_planes():
    check(lambda x: F.fold(x, (8, 6), (4, 3), stride=(4, 3)), random(torch.float32, (2, 36, 4)), "fold", rtol=0)
    check(lambda x: F.fold(x, (8, 6), 2, stride=2), random(torch.float32, (12, 12)), "fold2", rtol=0)
    check(lambda x: F.fold(x, (5, 5), 3, stride=1), random(torch.float32, (2, 18, 9)), "fold_over")  # windows that overlap
    check(lambda x: F.fold(x, (4, 4), 2, stride=2, padding=1), random(torch.float32, (1, 8, 9)), "fold_padded")
    check(lambda x: F.fold(x, (7, 9), (2, 3), stride=(2, 3)), random(torch.float64, (2, 18, 9)), "fold_rest", rtol=1e-12)  # a row that no window reaches
    check(lambda x: F.fold(x, (9, 7), (3, 2), stride=(2, 3), padding=(2, 1), dilation=(2, 1)), random(torch.float32, (6, 15)), "fold_dilated")
    check(lambda x: F.fold(x, (4, 4), 2), random(torch.bfloat16, (1, 8, 9)), "fold_half", native=False)


def test_norms_of_what_is_there():
    check(lambda x: F.batch_norm(x, None, None, training=True), random(torch.float32, (4, 3, 5, 6)), "own_norm", rtol=1e-4)
    check(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-3), random(torch.float32, (4, 3), (3,), (3,)), "own_norm2", rtol=1e-4)
    check(lambda x: F.batch_norm(x, None, None, training=True), random(torch.bfloat16, (4, 3, 7)), "own_norm16", rtol=2e-2)
    for dim in (0, 1, 2, -1):
        g = (1,) if dim == -1 else tuple(n if d == dim else 1 for d, n in enumerate((4, 3, 5)))
        check(lambda v, g: torch._weight_norm(v, g, dim), random(torch.float32, (4, 3, 5), g), f"weight_norm{dim}")


def test_bicubic():
    x, = random(torch.float32, (2, 3, 7, 5))
    for k, options in enumerate((dict(size=(11, 13)), dict(size=(4, 3)), dict(scale_factor=2.0), dict(scale_factor=(1.7, 0.6)), dict(size=(7, 5)), dict(size=(1, 1)),
                                 dict(scale_factor=1.5, recompute_scale_factor=True))):
        for corners in (False, True):
            f = lambda x: F.interpolate(x, mode="bicubic", align_corners=corners, **options)  # noqa: E731
            check(f, (x,), f"bicubic{k}{corners}")
    check(lambda x: F.interpolate(x, size=(9, 4), mode="bicubic"), (x.double(),), "bicubic64", rtol=1e-12)
    check(lambda x: F.interpolate(x, size=(9, 4), mode="bicubic"), (x.bfloat16(),), "bicubic16", rtol=1e-2)
    x[0, 0, 3, 2], x[1, 2, 0, 0] = torch.inf, torch.nan
    check(lambda x: F.interpolate(x, size=(9, 4), mode="bicubic"), (x,), "bicubic_inf")


def test_linear_cross_entropy():
    """In PyTorch's Python alone: native, and in LibTorch as the operators that it is made of."""
    mean = torch.ops.torch_nn._linear_cross_entropy_batch_chunked
    each = torch.ops.torch_nn._linear_cross_entropy_batch_chunked_no_reduction
    x, w, b, weight = random(torch.float64, (7, 5), (4, 5), (4,), (4,))
    target = torch.tensor([0, 3, 2, 2, -100, 1, 3])
    for dtype, rtol in (torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3):
        acc = torch.float32 if dtype.itemsize == 2 else dtype
        y, v, c, per = (t.to(dtype) for t in (x, w, b, weight.abs()))
        for k, (how, ignore, bias, some) in enumerate((("mean", -100, c, per), ("sum", -100, None, None), ("mean", -100, None, None), ("sum", -100, c, per))):
            f = lambda y, v, at: mean(y, v, at, bias, some, how, ignore, 0.0, 3, "accurate", acc, False, False, False, False)  # noqa: E731
            check(f, (y, v, target), f"lce{k}", rtol=rtol)
        check(lambda y, v, at: each(y, v, at, c, per, -100, 3, "accurate", acc), (y, v, target), "lce_each", rtol=rtol)
        check(lambda y, v, at: each(y, v, at, c, None, 2, 3, "accurate", acc), (y, v, target.abs() % 4), "lce_class", rtol=rtol)
    n = torch.export.Dim("n", min=0, max=64)
    f = lambda y, at: mean(y, w.float(), at, None, None, "mean", -100, 0.0, 4, "accurate", torch.float32, False, False, False, False)  # noqa: E731
    context, left = compiled(f, (x.float(), target), "lce_d", (({0: n}, {0: n}),))
    assert not left
    for rows in (7, 3, 1, 0):
        same(context, f, (x.float()[:rows], target[:rows]))
    same(context, f, (x.float()[4:5], target[4:5]))  # nobody counts: NaN
    path = common.export(common.module(f), (x.float(), target), "lce_t")
    cierge.compile(path, output=SCRATCH / "lce_t.cierge", backends="torch")
    same(cierge.load(SCRATCH / "lce_t.cierge").context(), f, (x.float(), target))


if __name__ == "__main__":
    common.main(globals())
