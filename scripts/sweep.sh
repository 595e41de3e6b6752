#!/usr/bin/env bash
# A sweep on the demo, for example
#   scripts/sweep.sh --methods grpo linear sign_matched --orders -2 2 --seeds 0 1 2
# Options: python -m recipe.holderpo.sweep --help. The same command goes on where it was cut off.
# Tables and curves: python -m holderpo.studies.compare --sweep outputs/sweep
# PYTHON: see scripts/python.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
exec "$python" -m recipe.holderpo.sweep --config demo \
  --prepare "'$python' -m data_prep.column_addition --seed {seed}" "$@"
