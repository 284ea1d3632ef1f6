"""Writes through several names of the same memory. slow_writes.py tries at length what these try a little of."""
from common import main
from script_writes import check, counted
from slow_writes import LISTS, chains, check_lists, check_views


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


if __name__ == "__main__":
    main(globals())
