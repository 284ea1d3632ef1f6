#!/bin/sh
# Unit and golden tests, and whole compilations with damaged files, under ASan and UBSan.
set -u
cd "$(dirname "$0")/.."
B=build-asan
make -s --no-print-directory -j2 B=$B SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined" CFLAGS="-O1 -g" TORCH= unit $B/cierge || exit 1
passed=0 failed=0
count() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $2"; fi; }
export UBSAN_OPTIONS=print_stacktrace=1
for t in tests/unit/test_*.c; do
  t=$B/tests/$(basename "$t" .c)
  "$t" >/dev/null 2>$B/log || tail -40 $B/log
  count $? "$t"
done
BUILD=$B .venv/bin/python tests/golden/run.py >$B/log 2>&1
count $? golden
CIERGE_LIBTORCH=none BUILD=$B .venv/bin/python tests/damage.py >$B/log 2>&1
code=$?
[ $code = 0 ] || tail -40 $B/log
count $code "damaged files"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
