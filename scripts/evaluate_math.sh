#!/usr/bin/env bash
# A model on the benchmarks of mathematics, for example
#   scripts/evaluate_math.sh outputs/math_qwen25_math_7b --panel table2
# Everything goes to outputs/evaluate/<the model's path, with _ for />.
# $1: Hugging Face folder, hub name, run's folder or checkpoint; further arguments are options of
# python -m recipe.holderpo.evaluate math --help. The same command goes on where it was cut off.
# Data first: python -m data_prep.<set>, for each set of the panel. PYTHON: see scripts/python.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
model=${1:?give a model: a folder, a hub name, or a checkpoint}
shift
name=${model%/}
name=${name#outputs/}
name=${name//\//_}
# As the paper's Table 2, unless something else is asked for.
[[ " $* " =~ " --panel"[\ =] || " $* " =~ " --sets"[\ =] ]] || set -- --panel table2 "$@"
exec "$python" -m recipe.holderpo.evaluate math --model "$model" --out "outputs/evaluate/$name" "$@"
