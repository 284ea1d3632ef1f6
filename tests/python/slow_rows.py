"""Every native row of the operator table in every dtype (rows.py)."""
import sys

import rows

names = sorted(rows.native_rows())
sys.exit(rows.report(rows.in_children(names, list(rows.WORDS.values())), rows.without_calls(names)))
