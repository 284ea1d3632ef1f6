"""Programs that change the shape of an input in place: what the caller finds is what PyTorch's caller finds, from both front ends.

The caller's memory holds what PyTorch wrote there, in the layout that it had; Context.mutated gives the tensor that lies over it."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import numpy as np
import torch
from common import SCRATCH, cli, export, main, module
from torch import Tensor
from torchscript import X, leaves, names_of, refused, same, save

import cierge


def alone(x):
    x.t_()
    return torch.ones(2)


def written(x):
    x.t_()
    x.mul_(2)
    return x[0] + 1


def written_before(x):
    x.add_(1)
    y = x[:, 1]
    x.transpose_(0, 1)
    y.mul_(3)
    return y


def returned(x):
    x.swapaxes_(0, 1)
    return x, x + 1


def strided(x):
    x.as_strided_((3, 2), (7, 1), 2)
    x.mul_(2)
    return x + 1


def strided_after(x):
    x.t_()
    x.as_strided_((2, 2), (1, 6), 3)
    return x + 1


def views(x):
    before, row = x.t(), x[0]
    x.t_()
    after = x[0]
    x.sub_(1)
    return before, row, after, x.sum(1)


def there_and_back(x):
    x.t_()
    y = x * 2
    x.t_()
    return y


def by_another_name(x):
    y = x.contiguous()
    y.t_()
    return y + x


def of_a_view(x):
    y = x.detach()
    y.t_()
    y.mul_(2)
    return y + x.t()


def ones(x):
    x.unsqueeze_(0)
    x.unsqueeze_(-1)
    y = x + 1
    x.squeeze_(0)
    return y


def ones_again(x):
    x.unsqueeze_(0)
    x.squeeze_(0)
    return x + 1


def libtorch(x):
    x.t_()
    y = torch.linalg.matrix_exp(x @ x.t() / 100)
    x.copy_(y @ x)
    return y.sum()


BOTH = [alone, written, written_before, returned, strided, strided_after, views, there_and_back, by_another_name, of_a_view, libtorch]
WAYS = [{}, {"backends": "torch"}, {"no_cost_drop": True, "torch_ops": ["aten.t", "aten.transpose", "aten.mul"]}]


def judged(path, reference, inputs, layouts=(None,), shapes_change=True, **options):
    """Compiles path and calls it, with inputs in several layouts, as PyTorch calls the reference."""
    artifact = path.with_suffix(".cierge")
    cierge.compile(path, output=artifact, **options)
    program = cierge.load(artifact)
    assert any(s.dims != program.inputs[i].dims for s, i in zip(program.mutated_specs, program.mutated)) == shapes_change
    context = program.context(threads=1)
    for layout in layouts:
        mine, theirs = ([x.clone() if layout is None else laid_out(x, layout) for x in inputs] for _ in range(2))
        kept = [(x.shape, x.stride()) for x in mine]
        same([torch.from_dlpack(t) for t in context.run(*mine)], leaves(reference(*theirs)))
        found = dict(enumerate(mine))
        found.update((i, torch.from_dlpack(context.mutated(k))) for k, i in enumerate(program.mutated))
        same(list(found.values()), theirs)
        assert all(torch.equal(torch.from_dlpack(context.mutated(s.name)), found[i]) for s, i in zip(program.mutated_specs, program.mutated))
        for x, y, (shape, stride) in zip(mine, theirs, kept):
            assert (x.shape, x.stride()) == (shape, stride)
            same([x], [y.as_strided(shape, stride, 0)])  # the memory


def laid_out(x, layout):
    return x.t().contiguous().t() if layout == "columns" else torch.zeros(x.shape[0], 2 * x.shape[1])[:, ::2].copy_(x)


def traced(f, inputs=1):
    return save(torch.jit.trace(module(f), tuple(X.clone() for _ in range(inputs)), check_trace=False), f"reshape_{f.__name__}")


def scripted(f, options, type="f32[4, 6]", **more):
    path = traced(f)
    judged(path, torch.jit.load(str(path)), (X,), input=[f"{names_of(path)[0]}={type}"], **options, **more)


def test_exported_programs():
    for f in BOTH:
        path = export(module(f), (X.clone(),), f"reshape_{f.__name__}")
        for options in WAYS:
            judged(path, torch.export.load(path).module(), (X,), shapes_change=f not in (there_and_back, of_a_view), **options)


def test_torchscript_programs():
    for f in [*BOTH, ones]:
        for options in WAYS:
            scripted(f, options, shapes_change=f not in (there_and_back, of_a_view))
    scripted(ones_again, {}, shapes_change=False)


def test_memory_in_any_layout():
    for f in (alone, written, written_before, returned, views):
        scripted(f, {}, layouts=("columns", "gaps", None))


def test_sizes_that_are_open():
    for f in (alone, written, written_before, returned, views, libtorch, ones):
        for options in WAYS:
            scripted(f, options, type="f32[a, b]")
    sizes = ((torch.export.Dim("rows"), torch.export.Dim("columns")),)
    for f in (written, returned, views):
        path = export(module(f), (X.clone(),), f"reshape_open_{f.__name__}", dynamic=(sizes,))
        judged(path, torch.export.load(path).module(), (X[:3],))


def two(x, y):
    x.t_()
    y.add_(x.t())
    return x + y.t()


def test_an_input_given_twice():
    """Where a program writes to one of two inputs, a tensor that is given for both is refused, and stays as it is."""
    path = traced(two, 2)
    names = names_of(path)
    cierge.compile(path, output=path.with_suffix(".cierge"), input=[f"{n}=f32[4, 6]" for n in names])
    context = cierge.load(path.with_suffix(".cierge")).context()
    x = X.clone()
    try:
        context.run(x, x)
        raise AssertionError("one tensor was taken for two")
    except cierge.Error as e:
        assert "share memory" in str(e), e
    same([x], [X])
    judge, a, b = torch.jit.load(str(path)), X.clone(), X.clone()
    got = torch.from_dlpack(context.run(x, mine := X.clone())[0])
    same([got], [judge(a, b)])
    same([torch.from_dlpack(context.mutated(n)) for n in names], [a, b])


@torch.jit.script
def in_loops_and_branches(x: Tensor, n: int):
    for i in range(2):
        x.unsqueeze_(i)
    held = {"x": x}
    if x.dim() > 3:
        held["x"].transpose_(2, 3)
    y = held["x"] + 1
    if bool(x.sum() > 0):
        y = y * x
    return y, x.size(2), held["x"].size(-1)


@torch.jit.script
def in_a_branch_on_data(x: Tensor):
    if bool(x.sum() > 0):
        x.t_()
    return x + 1


@torch.jit.script
def in_a_loop_on_data(x: Tensor):
    while bool(x.sum() < 100):
        x.mul_(2)
        x.t_()
    return x + 1


def test_control_flow():
    for types in (["f32[4, 6]", "3"], ["f32[a, b]", "3"]):
        path = save(in_loops_and_branches, "reshape_control")
        cierge.compile(path, output=path.with_suffix(".cierge"), input=[f"x={types[0]}", "n=3"])
        context = cierge.load(path.with_suffix(".cierge")).context()
        mine, theirs = X.clone(), X.clone()
        context.set_input(0, mine)
        context.call()
        got = [torch.from_dlpack(context.output(i)) for i in range(3)]
        same(got, in_loops_and_branches(theirs, 3))
        same([torch.from_dlpack(context.mutated("x")), mine], [theirs, X])
    for f in (in_a_branch_on_data, in_a_loop_on_data):
        refused(f, ["f32[4, 6]"], "aten::t_ changes the shape of a tensor in a branch or loop, so what shape it has afterwards is not known")


def test_what_is_refused():
    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("k", torch.ones(2, 3))

        def forward(self, x: Tensor):
            self.k.t_()
            return x + self.k.sum()

    refused(torch.jit.script(Keeps()), ["f32[2]"], "aten::t_", "changes the shape of 'k'")


def test_command_line():
    path = traced(written)
    name, = names_of(path)
    x = X.clone()
    y = written(x)
    r = cli("compile", path, "-o", path.with_suffix(".cierge"), "--input", f"{name}=f32[a, 6]", check=0)
    assert f"note: input {name} is f32[6, a] after a call" in r.stderr
    assert f"  {name}: float32[a, 6], written to, afterwards float32[6, a]" in cli("inspect", path.with_suffix(".cierge"), check=0).stdout
    assert f"input {name} is f32[6, a] after a call" in cli("explain", path, "--input", f"{name}=f32[a, 6]", check=0).stdout
    np.savez(SCRATCH / "in.npz", **{name: X.numpy()})
    cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "in.npz", "--outputs", SCRATCH / "out.npz", check=0)
    with np.load(SCRATCH / "out.npz") as out:
        assert sorted(out.files) == [f"mutated_{name}", "output_0"]
        same([torch.from_numpy(out[k]) for k in (f"mutated_{name}", "output_0")], [x, y])
    assert f"mutated_{name}" in cli("run", path.with_suffix(".cierge"), "--inputs", SCRATCH / "in.npz", check=0).stdout


def test_misuse():
    path = traced(alone)
    name, = names_of(path)
    cierge.compile(path, output=path.with_suffix(".cierge"), input=[f"{name}=f32[4, 6]"])
    context = cierge.load(path.with_suffix(".cierge")).context()
    for k, error, text in ((0, cierge.Error, "no call went well"), ("nobody", ValueError, f"it changes: {name}"), (1, cierge.Error, "no call went well")):
        try:
            context.mutated(k)
        except error as e:
            assert text in str(e) or k == 1, e
        else:
            raise AssertionError("no error")
    context.set_input(0, X, read_only=True)  # another shape is no write
    context.call()
    lent = context.mutated(0)
    context.call()
    try:
        torch.from_dlpack(lent)
    except ValueError as e:
        assert "until the context's next call" in str(e)
    else:
        raise AssertionError("no error")
    same([torch.from_dlpack(context.mutated(name))], [X.t()])


if __name__ == "__main__":
    main(globals())
