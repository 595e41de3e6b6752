"""What the tests of the grader share."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_garbage_collection():
    """The parser keeps what it makes, so that searching it for garbage only takes time."""
    gc.disable()
    yield
    gc.enable()
