#!/bin/sh
# Prints the folder of LibTorch to build against (it holds lib/libtorch_cpu.so and include/): the one given with --libtorch,
# CIERGE_LIBTORCH, the project's own .venv, then python3's torch. Prints nothing where there is none; one that is given and
# holds no LibTorch is an error.
here=$(cd "$(dirname "$0")/.." && pwd)
given=${CIERGE_LIBTORCH:-}
case ${1:-} in
--libtorch) given=${2:-} ;;
--libtorch=*) given=${1#--libtorch=} ;;
esac
[ "$given" = none ] && exit 0
if [ -n "${1:-}" ]; then
  [ -e "$given/lib/libtorch_cpu.so" ] && [ -e "$given/include/torch/csrc/api/include/torch/version.h" ] && { echo "$given"; exit 0; }
  echo "$given holds no lib/libtorch_cpu.so, or no headers (include/) beside it" >&2
  exit 4
fi
for d in "$given" "$here"/.venv/lib/python3*/site-packages/torch \
         "$(python3 -c 'import importlib.util as u; s=u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)"; do
  [ -n "$d" ] && [ -e "$d/lib/libtorch_cpu.so" ] && { echo "$d"; exit 0; }
done
exit 0
