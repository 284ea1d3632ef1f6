#!/bin/sh
# The other engines, in an environment of their own (.venv-peers); PyTorch comes from the project's.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv-peers/bin/python ] && [ -f .venv-peers/done ] && exit 0
.venv/bin/python -m venv .venv-peers
site=$(.venv-peers/bin/python -c 'import site; print(site.getsitepackages()[0])')
ours=$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')
echo "$ours" > "$site/project.pth"
.venv-peers/bin/pip install -q --no-deps onnxruntime openvino openvino-telemetry onnx onnxscript onnx-ir ml_dtypes flatbuffers protobuf iree-base-compiler iree-base-runtime iree-turbine decorator
touch .venv-peers/done
