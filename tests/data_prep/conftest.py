"""Real rows, where they are."""

import pytest

from tests.alfworld_games import official_games
from tests.holderpo.grading.math_files import SHARED

__all__ = ["official_games", "real_folder"]


@pytest.fixture(scope="session")
def real_folder():
    if not SHARED.exists():
        pytest.skip(f"needs the published rows in {SHARED}")
    return SHARED
