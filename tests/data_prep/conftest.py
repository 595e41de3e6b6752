"""Real rows, where they are."""

import pytest

from tests.holderpo.grading.math_files import SHARED


@pytest.fixture(scope="session")
def real_folder():
    if not SHARED.exists():
        pytest.skip(f"needs the published rows in {SHARED}")
    return SHARED
