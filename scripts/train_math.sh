#!/usr/bin/env bash
# A run on mathematics: scripts/train_math.sh CONFIG [Hydra overrides], for example
#   scripts/train_math.sh math_qwen25_math_7b seed=1
# CONFIG is a file of configs/; without it, their names are listed. The two with `smoke` in their name
# run on a CPU, the others on 4 GPUs of 80 GB. Prepares the data if they are missing.
#   MATH_SOURCE  folder with the published sets (default: the hub; python -m data_prep.math --help)
#   PYTHON       see scripts/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-}
known=$(cd configs && printf '%s\n' math_*.yaml gsm8k_smoke.yaml | sed 's/\.yaml$//')
if ! grep -qxF -- "$config" <<< "$known"; then
  printf 'CONFIG: %s; give one of\n%s\n' "${config:-not given}" "$known" >&2
  exit 2
fi
shift
source scripts/python.sh

# What is prepared last, and how: a tiny model's tokenizer, where there is one.
case $config in
  math_smoke) # In a folder of its own: the real runs' data are compared with more held-out sets.
    last=data/math_smoke/math_level3to5/tiny_model/tokenizer.json
    options=(--sets math500 math_level3to5 --tiny-model --folder data/math_smoke) ;;
  gsm8k_smoke)
    last=data/gsm8k/tiny_model/tokenizer.json
    options=(--sets gsm8k --template chat --tiny-model) ;;
  *)
    last=data/math_level3to5/train.parquet
    options=() ;;
esac
[ -f "$last" ] \
  || "$python" -m data_prep.math "${options[@]}" ${MATH_SOURCE:+--source-folder "$MATH_SOURCE"}
exec "$python" -m recipe.holderpo.main --config-name="$config" "$@"
