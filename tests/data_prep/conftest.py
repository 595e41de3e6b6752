"""Real rows, where they are."""

from pathlib import Path

import pytest

REAL = Path(__file__).parents[3] / "shared" / "data" / "math"


@pytest.fixture(scope="session")
def real_folder():
    if not REAL.exists():
        pytest.skip(f"needs the published rows in {REAL}")
    return REAL
