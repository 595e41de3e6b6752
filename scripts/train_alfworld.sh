#!/usr/bin/env bash
# A run on ALFWorld: scripts/train_alfworld.sh CONFIG [Hydra overrides], for example
#   scripts/train_alfworld.sh alfworld_qwen25_1_5b seed=1
# CONFIG is a file of configs/; without it, their names are listed. alfworld_demo, alfworld_smoke and
# alfworld_official_cpu run on a CPU, the others on 4 GPUs of 80 GB (2 with device=cuda_2x80gb).
# Lists or generates the games if that is missing; `make setup-alfworld` installs what plays them.
#   ALFWORLD_GAMES  folder with the official games, anywhere below it (default: where
#                   alfworld-download puts them)
#   PYTHON          see scripts/python.sh
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-}
known=$(cd configs && printf '%s\n' alfworld_*.yaml | sed 's/\.yaml$//')
if ! grep -qxF -- "$config" <<< "$known"; then
  printf 'CONFIG: %s; give one of\n%s\n' "${config:-not given}" "$known" >&2
  exit 2
fi
shift
source scripts/python.sh

games=${ALFWORLD_GAMES:-${ALFWORLD_DATA:-${HOME:-}/.cache/alfworld}}
# What is needed, the last to be made last, and how it is made. Of the demo, it sees for itself what
# is missing.
case $config in
  alfworld_smoke)
    needed=(data/alfworld_smoke/valid_seen.json data/alfworld_smoke/tiny_model/tokenizer.json)
    options=(generate --size small --train 1 --valid-seen 1 --tiny-model --folder data/alfworld_smoke) ;;
  alfworld_official_cpu)
    needed=(data/alfworld/{valid_train,valid_seen}.json data/alfworld/tiny_model/tokenizer.json)
    options=(official --games "$games" --splits valid_train valid_seen --tiny-model) ;;
  alfworld_demo)
    needed=()
    "$python" -m data_prep.alfworld_demo ;;
  *)
    needed=(data/alfworld/{train,valid_seen}.json)
    options=(official --games "$games" --splits train valid_seen) ;;
esac
for file in "${needed[@]}"; do
  if [ ! -f "$file" ]; then
    "$python" -m data_prep.alfworld "${options[@]}"
    break
  fi
done
exec "$python" -m recipe.holderpo.main --config-name="$config" "$@"
