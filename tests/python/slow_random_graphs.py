"""Random programs with random assignments of nodes to backends (random_graphs.py)."""
import sys

import random_graphs

FOUND = (6361,)  # those that something was wrong with
sys.exit(random_graphs.run((0, 40), (1000, 250), *((seed, 1) for seed in FOUND)))
