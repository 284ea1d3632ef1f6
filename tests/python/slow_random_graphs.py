"""More random programs with random assignments of nodes to backends (random_graphs.py)."""
import sys

import random_graphs

sys.exit(random_graphs.run((1000, 250)))
