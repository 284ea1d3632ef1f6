"""What slow_writes.py tries at length, a little of it: writes through several names of the same memory."""
from common import main
from slow_writes import LISTS, chains, check_lists, check_views


def test_operators_along_lists_that_share_memory():
    check_lists(LISTS[::40])


def test_writes_through_views_of_views():
    check_views(chains(6, 5))


if __name__ == "__main__":
    main(globals())
