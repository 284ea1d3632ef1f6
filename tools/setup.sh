#!/bin/sh
# Installs what building, running and testing need: Debian packages (as root; otherwise says which are missing) and
# Python packages into .venv. Does nothing when all is there.
set -eu
cd "$(dirname "$0")/.."

missing=
have_header() { printf '#include <%s>\nint main(void){return 0;}\n' "$2" | ${CC:-cc} -E -x c - >/dev/null 2>&1 || missing="$missing $1"; }
first() { echo "$1"; }
have_program() { command -v "$2" >/dev/null 2>&1 || missing="$missing $1"; }
have_program gcc "$(first ${CC:-cc})" # CC may be "ccache cc"
have_program g++ "$(first ${CXX:-c++})"
have_program make make
have_program python3 python3
have_header zlib1g-dev zlib.h
[ "${1:-}" = build-only ] || { have_program pkg-config pkg-config && have_program cmake cmake; } # the tests install and link with them
printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <cmocka.h>\n' | ${CC:-cc} -E -x c - >/dev/null 2>&1 ||
  missing="$missing libcmocka-dev"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  else
    echo "please install:$missing" >&2
    exit 4
  fi
fi

[ "${1:-}" = build-only ] && exit 0
stamp=.venv/.ready-$(cat tools/requirements*.txt | cksum | cut -d' ' -f1)
[ -e "$stamp" ] && exit 0
[ -x .venv/bin/python ] || python3 -m venv .venv
echo "installing Python packages into .venv"
.venv/bin/pip install -q --disable-pip-version-check torch==2.13.0 2>&1 | grep -v WARNING || true
.venv/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt 2>&1 | grep -v WARNING || true
.venv/bin/pip install -q --disable-pip-version-check --no-deps -r tools/requirements-nodeps.txt 2>&1 | grep -v WARNING || true
.venv/bin/python -c 'import torch, numpy, safetensors, expecttest, transformers; assert torch.__version__.startswith("2.13.0"), torch.__version__'
touch "$stamp"
