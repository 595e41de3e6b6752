#!/usr/bin/env bash
# A run on a Ray cluster that is up: scripts/train_ray.sh CONFIG [Hydra overrides], for example
#   RAY_ADDRESS=http://head:8265 scripts/train_ray.sh math_qwen25_math_7b trainer.nnodes=2
# CONFIG is a file of configs/. Submits a job that waits until the nodes have joined and are alike,
# then trains, and shows its log. Ctrl-C ends only the showing, `ray job stop` the job. This checkout
# and the interpreter have to be on all nodes, at the same path.
#   RAY_ADDRESS  of the cluster's dashboard
#   PYTHON       see scripts/python.sh; more variables: scripts/train_math.sh, train_alfworld.sh
# HF_TOKEN, HF_HOME, WANDB_API_KEY and all others are those of the cluster: Ray shows a job's words.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --on-the-cluster ]; then
  mapfile -d '' -t words < <(base64 -d <<< "$2")
  while [[ ${words[0]} == *=* ]]; do export "${words[0]?}"; words=("${words[@]:1}"); done
  set -- "${words[@]}"
  source scripts/python.sh
  source scripts/cluster.sh
  shift
  "${preflight[@]}" "$@"
  exec "${train[@]}" "$@"
fi
source scripts/python.sh
source scripts/cluster.sh
if [[ ${RAY_ADDRESS:-} != http*://* ]]; then
  echo "RAY_ADDRESS: ${RAY_ADDRESS:-not set}; give that of the cluster's dashboard," \
    "such as http://head:8265" >&2
  exit 2
fi
words=()
for name in ALFWORLD_DATA ALFWORLD_GAMES MATH_SOURCE PYTHONPATH; do
  [ -z "${!name:-}" ] || words+=("$name=${!name}")
done
words+=("PYTHON=$(command -v "$python")" "$@")
# In base64: some versions of Ray join words to a line without the quotes that a shell needs.
exec "$python" -m ray.scripts.scripts job submit --address="$RAY_ADDRESS" -- \
  bash "$PWD/scripts/train_ray.sh" --on-the-cluster "$(printf '%s\0' "${words[@]}" | base64 -w0)"
