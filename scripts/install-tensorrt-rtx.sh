#!/usr/bin/env bash
# TensorRT-RTX in a virtual environment: enough to build real engines on a machine without a GPU.
# usage: scripts/install-tensorrt-rtx.sh DIR [pip arguments…]     then: mmtrt build --backend tensorrt_rtx --python DIR/bin/python
set -euo pipefail

version=1.7.1.116
if [ $# -lt 1 ]; then
  echo "usage: $0 DIR [pip arguments…]" >&2
  exit 2
fi
dir=$1
shift
python=${PYTHON:-python3}

# The driver is written for Python 3.9; pip's own message for a version without wheels names neither.
"$python" -c 'import sys; sys.exit(0 if (3, 9) <= sys.version_info[:2] <= (3, 14) else "Python 3.9 to 3.14 is needed, this is " + sys.version)'
"$python" -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check \
  "tensorrt-rtx-cu13-libs==$version" "tensorrt-rtx-cu13-bindings==$version" "$@"

# The ONNX parser opens `libtensorrt_rtx.so` when it adds a plugin; the wheel ships only the name with the version,
# and without this link the whole process aborts.
libs=$("$dir/bin/python" -c 'import os, tensorrt_rtx_libs; print(os.path.dirname(tensorrt_rtx_libs.__file__))')
ln -sf libtensorrt_rtx.so.1 "$libs/libtensorrt_rtx.so"

"$dir/bin/python" -c 'import tensorrt_rtx_bindings as trt; print("TensorRT-RTX", trt.__version__, "at", trt.__file__)'
