#!/usr/bin/env bash
# configs/math_qwen25_math_1_5b.yaml on 4 GPUs of 80 GB; arguments are Hydra overrides. Prepares the data
# if it is missing: MATH_SOURCE is the folder with the published sets (python -m data_prep.math --help).
#   PYTHON  of an environment with pip install ".[gpu]" (default: python)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
[ -f data/math_level3to5/train.parquet ] \
  || "$python" -m data_prep.math ${MATH_SOURCE:+--source-folder "$MATH_SOURCE"}
exec "$python" -m recipe.holderpo.main --config-name=math_qwen25_math_1_5b "$@"
