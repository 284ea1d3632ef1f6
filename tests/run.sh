#!/bin/sh
# Runs the tests: `fast` for every change (under 3 minutes), `full` for everything. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.."
mode=${1:-full}
passed=0 failed=0
step() { # step NAME COMMAND…: one test program; counts its own "N passed, N failed" line if it prints one
  name=$1; shift
  log=$(mktemp)
  start=$(date +%s)
  if "$@" >"$log" 2>&1; then ok=1; else ok=0; fi
  p=$(grep -Eo '[0-9]+ passed, [0-9]+ failed' "$log" | tail -1 | cut -d' ' -f1)
  f=$(grep -Eo '[0-9]+ passed, [0-9]+ failed' "$log" | tail -1 | cut -d' ' -f3)
  [ -n "$p" ] || { p=$ok; f=$((1 - ok)); }
  [ "$ok" = 1 ] || [ "$f" != 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f))
  echo "$name: $p passed, $f failed ($(( $(date +%s) - start )) s)"
  if [ "$f" != 0 ] || [ -n "${VERBOSE:-}" ]; then tail -60 "$log"; fi
  rm -f "$log"
}
cmocka_count() { # a cmocka program, its count as the plain line
  out=$("$1" 2>&1); code=$?
  echo "$out"
  echo "$(echo "$out" | grep -c '\[       OK \]') passed, $(echo "$out" | grep -c '^\[  FAILED  \] [a-z_]*$') failed"
  return $code
}

make -s --no-print-directory -j2 all examples unit WERROR=1 || { echo "the build failed"; echo "0 passed, 1 failed"; exit 1; }
PY=.venv/bin/python
for t in tests/unit/test_*.c; do step "$(basename "$t" .c)" cmocka_count "build/tests/$(basename "$t" .c)"; done
step golden $PY tests/golden/run.py
step layers $PY tools/check-layers.py
for t in tests/python/test_*.py; do step "$(basename "$t" .py)" $PY "$t"; done
if [ "$mode" = fast ]; then
  step conformance $PY tests/conformance/run.py --every 40
else
  step conformance $PY tests/conformance/run.py --every 8
  step "conformance, whatever is native kept" $PY tests/conformance/run.py --every 8 --mode mixed
  for t in tests/python/slow_*.py; do step "$(basename "$t" .py)" $PY "$t"; done
  step minilm $PY tests/minilm.py
  step sanitizers tests/sanitizers.sh
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
