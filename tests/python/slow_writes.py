"""What is written through several names of the same memory: lists that share tensors, views of views."""
import random

from common import close, compile, export, main, module, torch
from script_writes import check, counted, random_body
from torchscript import compiled, declared, run, save

import cierge


# ---------------------------------------------------------------- lists

def apply(schema, tensors):
    """Calls it on lists of tensors: the second list is the first one moved by one place, and so on."""
    args, kwargs, lists = [], {}, 0
    for a in schema.arguments:
        kind = str(a.type)
        if kind == "List[Tensor]":
            v = tensors[lists:] + tensors[:lists]
            lists += 1
        elif kind == "Tensor":
            v = tensors[1].reshape(-1)[:len(tensors)] if a.name == "scalars" else tensors[0]
        elif a.name == "non_blocking":
            continue
        else:
            v = [0.5 + 0.25 * i for i in range(len(tensors))] if kind.startswith("List") else 1.5
        if a.kwarg_only:
            kwargs[a.name] = v
        else:
            args.append(v)
    getattr(getattr(torch.ops.aten, schema.name[len("aten::"):]), schema.overload_name or "default")(*args, **kwargs)


LISTS = [s for s in torch._C._jit_get_all_schemas() if s.name.startswith("aten::_foreach_") and s.name.endswith("_")]


def lists(schemas):
    """Lists whose items are the same tensors, and views that lie over one another."""
    def f(x):
        out = []
        for s in schemas:
            b, c = x.clone(), x * 0.5 + 0.25
            numbers = any(str(a.type) == "Tensor" and a.name != "scalars" for a in s.arguments)
            apply(s, [b[0, 0], c[1], b[1], c[0]] if numbers else [b[0], c[1], b[0], b[1], c[0], c[1]])
            out += [b, c]
        return tuple(out)
    return f


def check_lists(schemas):
    x = torch.rand(2, 8) + 0.5
    f = lists(schemas)
    want = f(x)
    program, _ = compiled(save(torch.jit.trace(module(f), x, check_trace=False), "lists"), [declared(x)])
    assert len(want) == 2 * len(schemas)
    for i, (a, b) in enumerate(zip(run(program.context(), [x]), want)):
        torch.testing.assert_close(a, b, equal_nan=True, msg=lambda m: f"{schemas[i // 2]}: {m}")


def test_every_operator_along_lists_that_share_memory():
    assert len(LISTS) > 60
    check_lists(LISTS)


def test_exported_lists_that_share_memory():
    def f(x, y):
        torch._foreach_add_([x, y, x[0]], [y, x, y[1]], alpha=2)
        torch._foreach_lerp_([y[0], y[1]], [y[1], y[0]], 0.25)
        torch._foreach_mul_([x[0, 0], x[1]], x[0, 0])
        torch._foreach_copy_([x.t()[1], x[:, 0]], [x[:, 0], x.t()[2]])
        return x, y
    x, y = torch.rand(2, 3), torch.rand(2, 3)
    artifact, _ = compile(export(module(f), (x, y), "exported_lists"))
    for a, b in zip(cierge.load(artifact).context().run(x.clone(), y.clone()), f(x, y)):
        close(torch.from_dlpack(a), b)


# ---------------------------------------------------------------- views

BASES = ("x.clone()", "x * 1", "x.transpose(0, -1) + 0", "torch.cat([x, x])[1:]", "x.clone().transpose(0, -1)")
VIEWS = """x.mT; x.transpose({d}, {d}); x.movedim(0, {d}); x.unsqueeze({d}); x.squeeze({d}); x.select({d}, -1); x.narrow({d}, 1, 2); x[1:]; x[..., ::2]
x.diagonal({n} - 2, {d}, {d}); x.flatten(); x.view(-1, 2)
x.flatten(-2); x.unflatten(0, (2, -1)); x.split({n}, {d})[-1]; x.tensor_split(2, {d})[-1]; x.unbind({d})[0]; x.expand(1, *x.shape); x.mH
x.as_strided((2, 2), ({n}, 1), 1); x.view(torch.int32); x.view(torch.float32); torch.view_as_real(x); torch.view_as_complex(x); x.real; x.imag; x.conj()
torch.atleast_3d(x); x.view_as(x); x.contiguous(); x.positive(); torch.broadcast_tensors(x, x)[0]""".replace("\n", "; ").split("; ")
UNFOLDS = ["x.unfold({d}, 2, {n})", "x.unfold({d}, 1, {n})", "x.unfold({d}, 3, 3)", "x.unfold({d}, 3, {n})"]


def one_place_each(x):
    """Whether no two elements share memory: PyTorch does not say what a write does then."""
    at = torch.zeros(x.shape, dtype=torch.int64)
    for i, stride in enumerate(x.stride()):
        at += (torch.arange(x.shape[i]) * stride).reshape(-1, *[1] * (x.dim() - i - 1))
    return at.unique().numel() == at.numel()


def chains(seed, count):
    """Chains of views, as texts, of tensors of their own, and what is written at their ends."""
    r, out = random.Random(seed), []
    while len(out) < count:
        dtype = r.choice([torch.float32] * 3 + [torch.int64, torch.complex64])
        x = torch.arange(24).reshape(r.choice([(4, 6), (2, 3, 4), (6, 4), (1, 6, 4), (24,)])).to(dtype)
        views, want = [r.choice(BASES)], r.randint(1, 4)
        v = base = eval(views[0], {"x": x, "torch": torch})
        for _ in range(30):
            text = r.choice(UNFOLDS if r.random() < 0.3 else VIEWS).replace("{n}", str(r.randint(1, 3)))
            text = "".join(p + str(r.randrange(-max(v.dim(), 1), max(v.dim(), 1))) for p in text.split("{d}")[:-1]) + text.split("{d}")[-1]
            try:
                y = eval(text, {"x": v, "torch": torch})
            except Exception:
                continue
            if y.numel() and y.untyped_storage().data_ptr() == base.untyped_storage().data_ptr() and len(views) <= want:
                views.append(text)
                v = y
        if one_place_each(v) and len(views) > 1:
            out.append((x, views, r.choice(("mul_(2)", "fill_(7)", "add_(x)", "copy_(torch.arange(x.numel()).reshape(x.shape))"))))
    return out


def follow(x, views, write):
    held = []
    for text in views:
        held.append(x := eval(text, {"x": x, "torch": torch}))
    eval("x." + write, {"x": x, "torch": torch})
    held[0].add_(1)
    return [y.resolve_conj().clone() for y in held]


def check_views(all_of_them):
    def f(*xs):
        return [y for x, (_, views, write) in zip(xs, all_of_them) for y in follow(x, views, write)]
    inputs = tuple(x for x, _, _ in all_of_them)
    artifact, _ = compile(export(module(f), inputs, "views"))
    names = [c[1:] for c in all_of_them for _ in c[1]]
    for a, b, name in zip(cierge.load(artifact).context().run(*inputs), f(*inputs), names):
        a, b = (torch.view_as_real(t) if t.is_complex() else t for t in (torch.from_dlpack(a), b))
        assert a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num()), name


def test_writes_through_views_of_views():
    all_of_them = chains(5, 48)
    assert sum("unfold" in " ".join(views) for _, views, _ in all_of_them) > 15
    check_views(all_of_them)


def test_random_branches_and_loops():
    """Right, or refused because what is written to hangs on a branch."""
    refused = 0
    for seed in range(60):
        calls = [(counted(4, 3), a, b) for a, b in ((0, 1), (1, 0), (2, 2), (0, 0))]
        try:
            check("x: Tensor, c1: int, c2: int", ["f32[4, 3]", "int", "int"], random_body(random.Random(seed)), calls)
        except cierge.Error as e:
            assert e.exit_code == 3, e
            refused += 1
    assert refused < 30, refused


if __name__ == "__main__":
    main(globals())
