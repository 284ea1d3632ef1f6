"""A thin slice of slow_rows.py: of every thirty-second native row of the operator table three dtypes; and that each row has calls, or a reason."""
import sys

import rows

names = sorted(rows.native_rows())
sys.exit(rows.report(rows.in_children(names[::32], ["f32", "bf16", "i64"]), rows.without_calls(names)))
