"""Writes through several names of the same memory. slow_writes.py tries at length what these try a little of."""
from common import close, compile, export, main, module, torch
from script_writes import check, counted, program
from slow_writes import LISTS, chains, check_lists, check_views
from torchscript import compiled, refused, save

import cierge


def test_operators_along_lists_that_share_memory():
    check_lists(LISTS[::40])


def test_writes_through_views_of_views():
    check_views(chains(6, 5))


def test_writes_to_pieces_of_open_sizes():
    """Pieces of one place or none, and places behind the last one of what is empty."""
    for body in ("x[:1].add_(1); x[-1:].mul_(2); return x", "x[:, :0].add_(1); x[:, 1:].mul_(2); return x", "x[2:, 1:].add_(1); return x + 1",
                 "x.unsqueeze(0)[:, :1].add_(1); x.t()[1:].t()[1:].add_(1); return x", "self.k[:1].add_(x[:1].sum()); return self.k"):
        check("x: Tensor", ["f32[s0, 3]"], body, [(counted(n, 3),) for n in (4, 2, 1, 0)])


def test_writes_to_places_of_open_sizes():
    for body in ("x[0].add_(1); return x", "x[x.size(0) // 2].mul_(2); return x[x.size(0) // 2]"):
        check("x: Tensor", ["f32[s0, 3]"], body, [(counted(n, 3),) for n in (4, 3, 1, 0)])


def test_loops_over_sizes():
    """A tensor and the number that is its size go into a loop."""
    for body in ("y = x\nfor i in range(x.size(0)):\n    y = y + 1\nreturn y", "a = x.sum(0)\nfor i in range(x.size(0)):\n    a = a + x[i]\nreturn a"):
        check("x: Tensor", ["f32[s0, 3]"], body, [(counted(n, 3),) for n in (4, 1, 0)])


X, BOTH = counted(2, 3), [(counted(2, 3), True), (counted(2, 3), False)]


def test_branches_and_loops_that_write():
    """They read state as statements before them left it, and write in the program's order."""
    for body in ("self.k.mul_(2)\nif c:\n    z = self.k + 1\nelse:\n    z = self.k - 1\nreturn z",
                 "self.k[0].mul_(2)\nif c:\n    z = self.k[0] + x\nelse:\n    z = x\nself.k.add_(1); return z, self.k[0]",
                 "y = x.t()\nif c:\n    y.mul_(2)\nreturn x, y", "if c:\n    z = x\nelse:\n    z = x + 1\nz = z + 1; z.mul_(2); return z, x",
                 "y = x.clone()\nif c:\n    y = x.clone()\ny.mul_(2); return y"):
        check("x: Tensor, c: bool", ["f32[2, 3]", "bool"], body, BOTH)
    for body in ("z = x * 0\nfor i in range(n):\n    self.k.add_(1)\n    z = z + self.k[0]\nreturn z, self.k",
                 "y = x.clone()\nfor i in range(n):\n    if i > 1:\n        y[0].mul_(2)\n    else:\n        y[1].add_(1)\nreturn y",
                 "y = x * 2\nfor i in range(n):\n    y.t().sub_(3)\nfor i in range(n):\n    y.sub_(3)\nreturn y"):
        check("x: Tensor, n: int", ["f32[2, 3]", "int"], body, [(X, n) for n in (3, 0, 1)])


def test_what_a_branch_or_loop_gives_may_be_what_it_was_given():
    for body in ("y = x if n > 1 else x.clone(); y.mul_(2); return x, y", "y = x[0]\nif n > 1:\n    y = x[1]\ny.mul_(2); return x",
                 "if n > 1:\n    z = self.k\nelse:\n    z = self.k + 1\nself.k.add_(1); return z",
                 "if n > 1:\n    z = x\n    w = x.t()\nelse:\n    z = x + 1\n    w = z.t()\nz.add_(1); return z, w",
                 "y = x\nfor i in range(n):\n    y = y + 1\ny.mul_(2); return x, y",
                 "y = x\ni = 0\nwhile i < n:\n    y = x.clone()\n    x.add_(1)\n    i += 1\ny.mul_(2); return x, y"):
        made, name = program("x: Tensor, n: int", body)
        refused(torch.jit.script(made()), ["f32[2, 3]", "int"], "may give under another name, which only the run decides", name=name)


SHAPES = ((4, 3), (3, 4), (5, 3), (2, 2))


def test_views_of_open_sizes():
    """What is a view and what a copy, and where views lie."""
    for body in ("x.t()[1:].diagonal().mul_(2); x[:, 1:].select(0, 1).add_(1); return x", "x[1:].t().as_strided([2], [1]).mul_(2); return x",
                 "x.t().reshape(-1).mul_(2); y = x.t(); y.contiguous().add_(1); return x", "x[1:].reshape(-1).mul_(2); x[:, 0].flatten().add_(1); return x",
                 "y = x.t() + 1; z = y.contiguous(); z.mul_(2); return y", "x.reshape(1, -1)[:, 1:].t().reshape(-1).mul_(2); return x"):
        check("x: Tensor", ["f32[s0, s1]"], body, [(counted(*s),) for s in SHAPES])
    check("x: Tensor", ["f32[s0, s1]"], "y = x + 1; z = y.t().contiguous(); z.mul_(2); return z", [(counted(*s),) for s in SHAPES + ((2, 1), (1, 1), (0, 3))])


def test_a_size_of_one_makes_a_view_of_a_copy():
    made, name = program("x: Tensor", "y = x.t().contiguous(); y.mul_(2); return y")
    loaded, _ = compiled(save(torch.jit.script(made()), name), ["f32[s0, s1]"])
    for x in (counted(2, 3), counted(0, 2)):
        close(torch.from_dlpack(loaded.context().run(x.clone())[0]), x.t() * 2)
    try:
        loaded.context().run(counted(2, 1))
    except cierge.Error as e:
        assert "writes to memory that aten::contiguous shares unless" in str(e), e
    else:
        raise AssertionError("the input is written to, and nobody says so")


def test_views_that_do_not_fit():
    for body in ("return x.t().view(-1)", "y = x.t() + 1; return y.view(-1)", "return x[:, 1:].view(-1)", "return x.expand(2, -1, -1).view(-1)"):
        made, name = program("x: Tensor", body)
        refused(torch.jit.script(made()), ["f32[s0, 3]"], "the size is not compatible with its input's size and strides", name=name)


def test_results_that_are_the_argument_though_no_schema_says_so():
    def f(a, b, c, d, e, g):
        a.sum_to_size(4, 3).mul_(2), a.type_as(a).add_(1), a.sum_to_size(1, 3).mul_(2), a.to_dense().mul_(2)
        torch.unsafe_split(b, 2)[1].mul_(2), torch.unsafe_split_with_sizes(b, [1, 3])[1].add_(1), torch.unsafe_chunk(b, 2, 1)[0].mul_(3)
        torch.conj_physical(c).mul_(2), torch.dropout(c, 0.0, True).add_(1), torch.dropout(c, 0.5, False).mul_(2)
        torch.cartesian_prod(d[0]).mul_(2), torch.atleast_1d([d])[0].add_(1), torch.broadcast_tensors(d, d)[1].mul_(2)
        torch.einsum("ij->i", e).mul_(2), torch.block_diag(e).mul_(2), e.expand_as(e).add_(1)
        y = torch.einsum("ij->ji", g + 1)
        return a, b, c, d, e, y.mul_(2)
    mine, theirs = ([counted(4, 3) for _ in range(6)] for _ in range(2))
    artifact, _ = compile(export(module(f), tuple(mine), "silent"))
    for a, b in zip(cierge.load(artifact).context().run(*mine), f(*theirs), strict=True):
        close(torch.from_dlpack(a), b)
    for a, b in zip(mine, theirs):
        close(a, b)


def test_how_views_of_open_sizes_lie():
    for body in ("y = x.t(); return y.stride(0), y.stride(1)", "y = x.t(); return y.is_contiguous()", "y = x[:, 1:]; return y.storage_offset(), y.is_contiguous()",
                 "if x.t().is_contiguous():\n    z = x * 2\nelse:\n    z = x * 3\nreturn z", "return x.is_contiguous(), x.stride(0)"):
        check("x: Tensor", ["f32[s0, s1]"], body, [(counted(*s),) for s in ((4, 3), (3, 4), (1, 5), (5, 1))])


if __name__ == "__main__":
    main(globals())
