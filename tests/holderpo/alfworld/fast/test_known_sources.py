"""The fast engine stands in only for what it was compared with."""

import importlib.machinery
import importlib.metadata
import importlib.util
import warnings
from pathlib import Path

import pytest

from holderpo.alfworld import engine
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.fast import known_sources
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


@pytest.fixture(autouse=True)
def forget():
    known_sources.difference.cache_clear()
    engine._warn_once.cache_clear()
    yield
    known_sources.difference.cache_clear()
    engine._warn_once.cache_clear()


def test_what_is_installed_is_what_it_was_compared_with():
    assert known_sources.difference() is None


@pytest.mark.parametrize("package", known_sources.VERSIONS)
def test_another_version_is_told_once_and_played_in_the_stock_engine(
    package, official_games, monkeypatch
):
    true = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9.9" if name == package else true(name)
    )
    with pytest.warns(RuntimeWarning, match=f"{package} is 9.9, not .*stock engine") as caught:
        played = [Engine(), Engine()][0]
    assert len(caught) == 1
    played.load(official_games["pick"])
    assert "put a toiletpaper in toiletpaperhanger" in played.reset()["feedback"]
    # It is textworld's own environment that plays.
    assert played._env.unwrapped.__class__.__name__ == "PddlEnv"


@pytest.mark.parametrize("path", known_sources.SOURCES)
def test_a_changed_or_missing_source_is_a_difference(path, monkeypatch, tmp_path):
    package, _, rest = path.partition("/")
    true = importlib.util.find_spec

    moved = importlib.machinery.ModuleSpec(package, None, is_package=True)
    moved.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: moved if name == package else true(name)
    )
    copy = tmp_path / rest
    for other in known_sources.SOURCES:
        if other.startswith(f"{package}/"):
            target = tmp_path / other.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            origin = Path(true(package).submodule_search_locations[0])
            target.write_bytes((origin / other.partition("/")[2]).read_bytes())
    assert known_sources.difference() is None
    known_sources.difference.cache_clear()
    copy.write_bytes(copy.read_bytes() + b"\npass\n")
    assert known_sources.difference().startswith(f"{path} is not that of alfworld 0.4.2, ")
    known_sources.difference.cache_clear()
    copy.unlink()
    assert known_sources.difference().startswith(f"{path} is not that of")


def test_no_word_where_all_is_as_expected():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Engine(cache_folder=None)
