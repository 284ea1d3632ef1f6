"""Rooms may include only what lies below them: base -> ir -> ops -> pass -> backend -> compile, with artifact and runtime
free of the compiler. Prints each include that points the other way."""
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parents[1] / "src"
# room -> rooms it may use (besides itself)
ALLOWED = {
    "base": set(),
    "ir": {"base", "artifact"},            # the scalar table's keys
    "ops": {"base", "ir", "artifact"},
    "artifact": {"base", "ir"},            # dtypes
    "runtime": {"base", "artifact", "ir"},
    "pass": {"base", "ir", "ops", "artifact"},
    "arrays": {"base", "ir"},
    "frontend": {"base", "ir", "arrays", "ops", "pass"},
    "backend": {"base", "ir", "ops", "pass", "artifact", "runtime"},
    "compile": {"base", "ir", "ops", "pass", "artifact", "runtime", "backend", "frontend", "arrays"},
    "cli": {"base", "ir", "ops", "pass", "artifact", "runtime", "backend", "frontend", "compile", "arrays"},
}
RUNTIME_IR = {"ir/dtype.h", "ir/dtype.def"}

bad = checked = 0
for path in sorted(SRC.rglob("*.[ch]")) + sorted(SRC.rglob("*.def")):
    room = path.relative_to(SRC).parts[0]
    for line, text in enumerate(path.read_text().splitlines(), 1):
        m = re.match(r'\s*#include "([^"]+)"', text)
        if not m or m[1].split("/")[0] not in ALLOWED:
            continue
        target = m[1].split("/")[0]
        checked += 1
        wrong = target != room and target not in ALLOWED[room]
        wrong |= room in ("artifact", "runtime") and target == "ir" and m[1] not in RUNTIME_IR
        wrong |= room == "ir" and target == "artifact" and m[1] != "artifact/scalar.h"
        if wrong:
            bad += 1
            print(f"{path.relative_to(SRC)}:{line}: {room}/ may not include {m[1]}")
print(f"{checked - bad} passed, {bad} failed")
sys.exit(bool(bad))
