#!/usr/bin/env bash
# The demo: makes its data and warm-started model if they are missing, then trains. $1 is the seed
# (default: 0); further arguments are Hydra overrides. PYTHON: see scripts/python.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
seed=${1:-0}
shift || true
"$python" -m data_prep.column_addition --seed "$seed"
exec "$python" -m recipe.holderpo.main --config-name=demo seed="$seed" "$@"
