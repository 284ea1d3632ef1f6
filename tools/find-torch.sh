#!/bin/sh
# Prints the folder of LibTorch to build against (it holds lib/libtorch_cpu.so and include/): CIERGE_LIBTORCH, the
# project's own .venv, then python3's torch. Prints nothing where there is none.
here=$(cd "$(dirname "$0")/.." && pwd)
[ "$CIERGE_LIBTORCH" = none ] && exit 0
for d in "$CIERGE_LIBTORCH" "$here"/.venv/lib/python3*/site-packages/torch \
         "$(python3 -c 'import importlib.util as u; s=u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)"; do
  [ -n "$d" ] && [ -e "$d/lib/libtorch_cpu.so" ] && { echo "$d"; exit 0; }
done
exit 0
