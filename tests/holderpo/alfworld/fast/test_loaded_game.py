"""Games are shared by the engines of a process, and given up again."""

import gc
import json
import subprocess
import sys

import pytest

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.fast import fast_environment, loaded_game
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld


@pytest.fixture(autouse=True)
def forget():
    loaded_game.game_memory.cache_clear()


def loaded_games():
    return [each for each in gc.get_objects() if type(each) is loaded_game.LoadedGame]


def test_engines_share_a_game_that_is_translated_once(official_games, tmp_path, monkeypatch):
    calls = []
    true = loaded_game.translate
    monkeypatch.setattr(
        loaded_game, "translate", lambda *texts: calls.append(texts) or true(*texts)
    )
    engines = [Engine(cache_folder=tmp_path) for _ in range(3)]
    for engine in engines:
        engine.load(official_games["pick"])
        engine.load(official_games["pick"])
        engine.reset()
    assert len(calls) == 1
    gc.collect()
    assert len(loaded_games()) == 1
    # Another process, so to say.
    loaded_game.game_memory.cache_clear()
    engine = Engine(cache_folder=tmp_path)
    engine.load(official_games["pick"])
    assert len(calls) == 1


def test_the_games_not_used_for_longest_are_given_up(official_games, tmp_path, monkeypatch):
    monkeypatch.setattr(loaded_game, "MOST_GAMES", 2)
    read = []
    true = loaded_game.Translation.from_json
    monkeypatch.setattr(
        loaded_game.Translation, "from_json", lambda value: read.append(1) or true(value)
    )
    engine = Engine(cache_folder=tmp_path)
    one, two, three = (official_games[name] for name in ("pick", "look", "two"))
    for game in (one, two, one, three):
        engine.load(game)
        engine.reset()
    gc.collect()
    assert len(loaded_games()) == 2
    # The first was used after the second.
    engine.load(one)
    assert not read
    engine.load(two)
    assert len(read) == 1


def test_a_command_is_written_once_where_no_fact_changes_it(official_games, monkeypatch, tmp_path):
    engine = Engine(cache_folder=tmp_path)
    engine.load(official_games["pick"])
    state = engine.reset()
    monkeypatch.setattr(
        fast_environment.LoadedGame,
        "answer",
        lambda *_: pytest.fail("nothing is done"),
    )
    writer = engine._env._game._writer
    monkeypatch.setattr(writer, "write", lambda *_: pytest.fail("written again"))
    again = engine.step("nothing")
    assert again["admissible_commands"] == state["admissible_commands"]


MEASURE = """
import json, sys
from pathlib import Path
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.fast import loaded_game

folder, num_resets, *games = sys.argv[1:]
# Every load makes a game anew.
loaded_game.MOST_GAMES = 1
engine = Engine(cache_folder=Path(folder), facts=True)
sizes = []
for place in range(int(num_resets)):
    engine.load(Path(games[place % len(games)]))
    state = engine.reset()
    for command in state["admissible_commands"][:3]:
        engine.step(command)
    resident = Path("/proc/self/statm").read_text().split()[1]
    sizes.append(int(resident) * 4096 / 1e6)
print(json.dumps(sizes))
"""


def assert_flat(tmp_path, num_resets, games):
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(num_resets), *map(str, games)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    sizes = json.loads(shown.stdout)
    # The first tenth is what a process needs to have seen every game.
    assert max(sizes[-len(sizes) // 4 :]) - max(sizes[: len(sizes) // 4]) < 3


def test_memory_is_flat_over_resets(official_games, tmp_path):
    assert_flat(tmp_path, 120, [official_games[name] for name in ("pick", "two")])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_flat_over_2000_resets(official_games, tmp_path):
    assert_flat(tmp_path, 2000, list(official_games.values()))
