# Sourced by the launchers, at the top of the checkout: sets $python to an interpreter with verl.
#   PYTHON  which one (default: .venv/bin/python where make setup has made it, else python)
if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python; fi
python=${PYTHON:-$python}
# Looked for, not imported, which takes many seconds.
"$python" -c 'from importlib.util import find_spec as f; exit(not f("verl"))' 2>/dev/null || {
  echo "PYTHON=$python: cannot import verl; run make setup," \
    'or give an interpreter with pip install ".[gpu]"' >&2
  exit 1
}
