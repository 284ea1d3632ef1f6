#!/bin/sh
# NNSmith, in an environment of its own (.venv-nnsmith); PyTorch comes from the project's.
set -eu
cd "$(dirname "$0")/../.."
[ -f .venv-nnsmith/done ] && exit 0
.venv/bin/python -m venv .venv-nnsmith
site=$(.venv-nnsmith/bin/python -c 'import site; print(site.getsitepackages()[0])')
.venv/bin/python -c 'import site; print(site.getsitepackages()[0])' >"$site/project.pth"
.venv-nnsmith/bin/pip install -q --disable-pip-version-check --no-deps nnsmith==0.1.0 'z3-solver<4.13' appdirs hydra-core hydra-colorlog colorlog omegaconf \
  antlr4-python3-runtime==4.9.3 PyYAML packaging multipledispatch networkx
touch .venv-nnsmith/done
