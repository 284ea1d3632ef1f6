"""A few random programs with random assignments of nodes to backends (random_graphs.py)."""
import sys

import random_graphs

FOUND = [5404]  # those that something was wrong with
sys.exit(random_graphs.run([*range(40), *FOUND]) != 0)
