#!/bin/bash
# sanitizers.sh [JOBS]: so many at a time, 2 if not said
# The tests under ASan and UBSan: the program, the libraries, the LibTorch plugin (LibTorch itself is not instrumented) and the
# generated kernels. Whatever process reports something, it is a failure. Leaks: not in Python's processes, nor in conformance cases.
# Kernels are C with -fwrapv, where integers wrap as PyTorch's do: their overflow is no defect, a shift too far is.
set -u
cd "$(dirname "$0")/.."
B=build-asan
SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
rm -rf $B/reports
mkdir -p $B/reports
ln -sf ../tests/sanitized-cc $B/sanitized-c++
jobs=${1:-2}
make -s --no-print-directory -j$jobs B=$B SAN="$SAN" CFLAGS="-O1 -g" CXX=$PWD/$B/sanitized-c++ all examples unit || exit 1
step() { # step NAME COMMAND…: counts one
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  steps=$((steps + 1))
  one "$@" &
}
one() {
  name=$1; shift
  start=$(date +%s)
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then echo "$name" >>$B/passed; else echo "FAILED $name"; tail -40 "$log"; fi
  echo "$name: $(($(date +%s) - start)) s"
  rm -f "$log"
}
steps=0
rm -f $B/passed
# Python has no ASan of its own: the runtime is loaded before it, and libstdc++, whose throw it watches.
with_asan() { LD_PRELOAD="$(cc -print-file-name=libasan.so) $(c++ -print-file-name=libstdc++.so.6)" .venv/bin/python "$@"; }

export BUILD=$PWD/$B CIERGE_LIB_DIR=$PWD/$B CIERGE_CC=$PWD/tests/sanitized-cc CIERGE_CACHE=none CXX=$PWD/$B/sanitized-c++
export UBSAN_OPTIONS=print_stacktrace=1
for t in tests/unit/test_*.c; do
  t=$B/tests/$(basename "$t" .c)
  step "${t##*/}" "$t"
done
step golden .venv/bin/python tests/golden/run.py --tool $PWD/$B/tests/irtool
step planted .venv/bin/python tests/planted.py
export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:quarantine_size_mb=8:log_path=$PWD/$B/reports/asan UBSAN_OPTIONS=$UBSAN_OPTIONS:log_path=$PWD/$B/reports/ubsan
step "damaged files" env CIERGE_LIBTORCH=none .venv/bin/python tests/damage.py
for t in test_models test_semantics test_cli test_process test_api slow_torch_modes test_torchop test_torchop_state test_torchscript test_torchscript_modules test_torchscript_inputs test_partition test_explain slow_recurrent slow_concat slow_control; do step $t with_asan tests/python/$t.py; done
step conformance with_asan tests/conformance/run.py --every 40
wait
step "what was reported" sh -c "head -40 $B/reports/* 2>/dev/null && exit 1 || exit 0"
wait
passed=$(wc -l <$B/passed) failed=$((steps - passed)) # a step that was killed has not passed
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
