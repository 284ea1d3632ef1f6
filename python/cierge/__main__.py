"""The command line: `cierge`, or `python -m cierge`."""
import os
import sys

from . import _find


def main():
    program = _find("cierge")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
