"""Without a GPU, Triton interprets the kernels of the fused surrogate: slow, and the same sums."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_the_kernels_as_triton_interprets_them():
    pytest.importorskip("triton")
    # Before Triton is imported, so in a process of its own.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"),
            *("-W", "ignore", "tests/holderpo/test_fused_surrogate.py"),
        ],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
