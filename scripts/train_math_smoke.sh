#!/usr/bin/env bash
# configs/math_smoke.yaml on this machine's CPU, after make setup; arguments are Hydra overrides.
# Prepares the data and the tiny model if they are missing: MATH_SOURCE is the folder with the
# published sets (python -m data_prep.math --help).
set -euo pipefail
cd "$(dirname "$0")/.."
# The tokenizer comes last: with it everything is there.
[ -f data/math_smoke/math_level3to5/tiny_model/tokenizer.json ] \
  || .venv/bin/python -m data_prep.math --sets math500 math_level3to5 --tiny-model \
       --folder data/math_smoke ${MATH_SOURCE:+--source-folder "$MATH_SOURCE"}
exec .venv/bin/python -m recipe.holderpo.main --config-name=math_smoke "$@"
