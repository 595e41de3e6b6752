#!/usr/bin/env bash
# A sweep on the demo, for example
#   scripts/sweep.sh --methods grpo linear sign_matched --orders -2 2 --seeds 0 1 2
# Options: .venv/bin/python -m recipe.holderpo.sweep --help. The same command goes on where it was
# cut off. Tables and curves: .venv/bin/python -m holderpo.studies.compare --sweep outputs/sweep
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m recipe.holderpo.sweep --config demo \
  --prepare ".venv/bin/python -m data_prep.columns --seed {seed}" "$@"
