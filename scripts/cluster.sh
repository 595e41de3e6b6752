# Sourced by the launchers for clusters, after scripts/python.sh: takes CONFIG and Hydra overrides, and
# sets $train and $preflight to the commands of that run, without the overrides.
# shellcheck disable=SC2034,SC2154  # set for, and by, those who source this
config=${1:-}
if [[ ! $config =~ ^[A-Za-z0-9_][A-Za-z0-9_/.-]*$ ]]; then
  echo "CONFIG: ${config:-not given}; give a file of configs/ first, then overrides" >&2
  exit 2
fi
export PYTHON=$python
case $config in
  # These prepare their data first.
  math_* | gsm8k_*) train=(bash scripts/train_math.sh "$config") ;;
  alfworld_*) train=(bash scripts/train_alfworld.sh "$config") ;;
  *) train=("$python" -m recipe.holderpo.main --config-name="$config") ;;
esac
# The run itself looks at the nodes once more, when its data and its folder are there. This look comes
# before data are prepared, and says what is missing without a run's other checks.
preflight=("$python" -m recipe.holderpo.preflight --config-name="$config")
