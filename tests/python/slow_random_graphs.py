"""More random programs with random assignments of nodes to backends (random_graphs.py)."""
import sys

import random_graphs

sys.exit(random_graphs.run(range(1000, 1200)) != 0)
