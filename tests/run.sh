#!/bin/bash
# Runs the tests: `fast` for every change (under 3 minutes), `full` for everything. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.."
mode=${1:-full}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
step() { # step NAME COMMAND…: one test program; two run at a time, each as it would alone
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  steps=$((steps + 1))
  one "$steps" "$@" &
}
steps=0
one() { # counts the program's own "N passed, N failed" line if it prints one; a program that was killed has not passed
  result=$results/$1 name=$2
  shift 2
  start=$(date +%s)
  if "$@" >"$result.log" 2>&1; then ok=1; else ok=0; fi
  count=$(grep -Eo '[0-9]+ passed, [0-9]+ failed' "$result.log" | tail -1)
  p=${count%% *} f=${count#*, } f=${f%% *}
  [ -n "$count" ] || { p=$ok; f=$((1 - ok)); }
  [ "$ok" = 1 ] || [ "$f" != 0 ] || f=1
  echo "$name: $p passed, $f failed ($(($(date +%s) - start)) s)"
  if [ "$f" != 0 ] || [ -n "${VERBOSE:-}" ]; then tail -60 "$result.log"; fi
  echo "$p $f" >"$result"
}
cmocka_count() { # a cmocka program, its count as the plain line
  out=$("$1" 2>&1); code=$?
  echo "$out"
  echo "$(echo "$out" | grep -c '\[       OK \]') passed, $(echo "$out" | grep -c '^\[  FAILED  \] [a-z_]*$') failed"
  return $code
}

custom_ops= # a minute to build; two tests use them
[ "$mode" = fast ] || custom_ops="build/examples/libmyops.so build/examples/custom_op build/tests/libtestops.so"
make -s --no-print-directory -j2 all examples unit $custom_ops WERROR=1 || { echo "the build failed"; echo "0 passed, 1 failed"; exit 1; }
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
  step "conformance, all in LibTorch, several calls" $PY tests/conformance/run.py --every 8 --mode torch --torch-mode ops --calls 3
  for t in tests/python/slow_*.py; do step "$(basename "$t" .py)" $PY "$t"; done
  step minilm $PY tests/minilm.py
  step fuzz tests/fuzz/run.sh 20
  step sanitizers tests/sanitizers.sh
fi
wait
passed=0 failed=0
for ((i = 1; i <= steps; i++)); do
  if [ -f "$results/$i" ]; then read -r p f <"$results/$i"; else p=0 f=1; fi
  passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
