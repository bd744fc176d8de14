#!/usr/bin/env bash
# What a GPU should be asked, in one command of at most ten minutes; writes benchmarks/gpu.md, section by section:
#     benchmarks/on_gpu.sh
# PYTHON=... chooses another Python. --device cpu --small tries the script itself on a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
limit=()
command -v timeout >/dev/null && limit=(timeout 600)
exec "${limit[@]}" "$python" benchmarks/on_gpu.py "$@"
