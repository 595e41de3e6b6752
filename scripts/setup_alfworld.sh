#!/usr/bin/env bash
# Adds what plays ALFWorld's games to .venv; does nothing where that is done already.
# Two of the packages are built from source: the planner (C++) and jericho (C), a minute or two.
# Settings are those of scripts/setup.sh, which runs first.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

fail() { echo "setup-alfworld: $*" >&2; exit 1; }

stamp=.venv/.installed-alfworld
wanted=$(cat requirements-alfworld.lock scripts/setup_alfworld.sh .venv/.installed | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

missing=
for tool in g++ gcc make cmake; do command -v "$tool" > /dev/null || missing+="${missing:+, }$tool"; done
[ -z "$missing" ] || fail "the planner and jericho have no wheels, and building them needs $missing;" \
  "install them (Debian: apt-get install g++ make cmake)"

source scripts/indexes.sh
echo "setup-alfworld: installing, with two builds from source (a minute or two, once)"
uv=(.venv/bin/python -m uv --quiet pip install --python .venv/bin/python --no-deps)
"${uv[@]}" --require-hashes --build-constraints .venv/locked.txt -r requirements-alfworld.lock \
  || fail "uv cannot install requirements-alfworld.lock; see the message above, and run it again"
# ALFWorld makes the folder of its data when it is imported.
ALFWORLD_DATA=.venv/alfworld_data .venv/bin/python -c \
  'import alfworld.agents.environment.alfred_tw_env, fast_downward, textworld.envs.pddl.logic' \
  > .venv/alfworld.log 2>&1 \
  || fail "the packages do not import, $(tail -1 .venv/alfworld.log); remove .venv and run it again"
echo "$wanted" > "$stamp"
