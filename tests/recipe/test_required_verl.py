"""Every place that pins verl pins the same version."""

import re

import pytest

from recipe.holderpo.checks.versions import SUPPORTED_VERL
from tests.recipe.launching import REPOSITORY


@pytest.mark.parametrize(
    "name", ["recipe/holderpo/REQUIRED_VERL.txt", "setup.py", "requirements.lock"]
)
def test_the_pinned_verl_is_the_supported_one(name):
    pins = re.findall(r"\bverl(?:\[.*?\])?==([\w.]+)", (REPOSITORY / name).read_text())
    assert set(pins) == {SUPPORTED_VERL}
