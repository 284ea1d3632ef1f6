#!/bin/bash
# Fuzzing: run.sh SECONDS [TARGET…] replays tests/fuzz/corpus and runs each target so long under ASan and UBSan, two at a time.
# What it finds lies in build-fuzz/found; a file that was mended goes into tests/fuzz/corpus/TARGET. Ends with "N passed, N failed".
# Without clang and its libFuzzer the corpus and the seeds are replayed, and nothing more.
set -u
cd "$(dirname "$0")/../.."
B=build-fuzz
seconds=${1:-60}
shift
find_clang() {
  for clang in ${CLANG:-} clang clang-{21..14}; do
    echo '#include <stddef.h>
int LLVMFuzzerTestOneInput(const char *p, size_t n) { return p && n ? 0 : 0; }' | $clang -x c - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null && return
  done
  clang=
  return 1
}
find_clang || { [ "$(id -u)" = 0 ] && command -v apt-get && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang libclang-rt-dev; } >/dev/null 2>&1 && find_clang
common="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
if [ -n "$clang" ]; then tool=(CC="$clang" SAN="-fsanitize=fuzzer-no-link $common -D__SANITIZE_ADDRESS__" ENGINE=-fsanitize=fuzzer)
else tool=(SAN="$common" ENGINE=tests/fuzz/replay.c); echo "no clang with libFuzzer: the files are replayed, nothing is tried beyond them"; fi
# THIRD: sanitizers and an optimiser together take minutes for yyjson.
make -s --no-print-directory -j2 B=$B TORCH= LTO= CFLAGS="-O1 -g -DNDEBUG" THIRD=-O0 "${tool[@]}" fuzzers || { echo "0 passed, 1 failed"; exit 1; }
[ -d $B/seeds ] || BUILD=build .venv/bin/python tests/fuzz/seeds.py $B/seeds >$B/seeds.log 2>&1 || { tail -5 $B/seeds.log; echo "0 passed, 1 failed"; rm -rf $B/seeds; exit 1; }
rm -rf $B/found && mkdir -p $B/found
: >$B/passed
export CIERGE_CACHE=none UBSAN_OPTIONS=print_stacktrace=1
one() {
  t=$1 log=$B/found/$1.log
  mkdir -p $B/corpus/$t
  files=("$B/seeds/$t" "tests/fuzz/corpus/$t")
  [ -d "${files[1]}" ] || files=("${files[0]}")
  if [ -n "$clang" ]; then
    $B/fuzz/$t $B/corpus/$t "${files[@]}" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=100000 -max_len=65536 \
      -artifact_prefix=$B/found/$t- -print_final_stats=1 >"$log" 2>&1
  else find "${files[@]}" -type f -exec $B/fuzz/$t {} + >"$log" 2>&1; fi || { echo "FAILED $t"; grep -v "^#[0-9]*[^ ]*\s*\(NEW\|REDUCE\|pulse\)" "$log" | tail -${LINES_SHOWN:-40}; return; }
  echo "$t:$(sed -n 's/^stat::number_of_executed_units:/ runs/p' "$log")"
  echo "$t" >>$B/passed
}
targets=("$@")
[ $# -gt 0 ] || for t in tests/fuzz/fuzz_*.c; do targets+=("$(basename "$t" .c)"); done
for t in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  one "$t" &
done
wait
passed=$(wc -l <$B/passed) failed=$((${#targets[@]} - passed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
