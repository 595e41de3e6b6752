"""Each environment has a small library of its own, and nothing stays in the temporary folder."""

import tempfile
from pathlib import Path

import pytest

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.fast.planner_library import stripped
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


def test_a_copy_holds_the_segments_alone():
    from fast_downward.interface import DOWNWARD_LIB_PATH

    whole = Path(DOWNWARD_LIB_PATH).stat().st_size
    content = stripped(Path(DOWNWARD_LIB_PATH))
    assert len(content) < 2e6 < whole


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(100), b"other" * 99]
)
def test_what_is_no_elf_file_stays_as_it_is(tmp_path, content):
    path = tmp_path / "library"
    path.write_bytes(content)
    assert stripped(path) == content


def test_copies_are_private_and_leave_no_file(tmp_path, monkeypatch, official_games):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = Engine(cache_folder=None), Engine(cache_folder=None)
    assert list(tmp_path.iterdir()) == []
    for engine in (one, other):
        engine.load(official_games["pick"])
        engine.reset()
    first = other.step("look")["admissible_commands"]
    one.step("go to cabinet 1")
    assert "open cabinet 1" in one.step("look")["admissible_commands"]
    assert other.step("look")["admissible_commands"] == first
    assert list(tmp_path.iterdir()) == []
