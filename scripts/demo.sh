#!/usr/bin/env bash
# The demo: make its data and warm-started model if they are missing, then train. $1 is the seed;
# further arguments are Hydra overrides.
set -euo pipefail
cd "$(dirname "$0")/.."
seed=${1:-0}
shift || true
.venv/bin/python -m data_prep.columns --seed "$seed"
exec .venv/bin/python -m recipe.holderpo.main --config-name=demo seed="$seed" "$@"
