"""The fast engine says what textworld says, byte for byte."""

import json
import re

import pytest

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.fast import loaded_game
from tests.alfworld_games import OFFICIAL, needs_alfworld
from tests.holderpo.alfworld.transcripts import play_in, play_stock

pytestmark = needs_alfworld


@pytest.fixture
def fresh(tmp_path):
    """An engine whose process remembers nothing; its cache folder stays."""

    def make(folder=tmp_path / "cache"):
        loaded_game.game_memory.cache_clear()
        return Engine(cache_folder=folder, facts=True)

    return make


def assert_same(plan, fresh):
    """Cold, from memory, and from disk."""
    expected = play_stock(plan)
    engine = fresh()
    assert play_in(engine, plan) == expected
    assert play_in(engine, plan) == expected
    assert play_in(fresh(), plan) == expected
    return expected


def test_a_win_resets_another_game_and_commands_that_do_nothing(official_games, fresh):
    small, other = str(official_games["pick"]), str(official_games["two"])
    win = (
        "go to cabinet 1",
        "open cabinet 1",
        "take toiletpaper 1 from cabinet 1",
        "examine toiletpaper 1",
        "examine cabinet 1",
        "close cabinet 1",
        "inventory",
        "look",
        "go to toiletpaperhanger 1",
        "put toiletpaper 1 in/on toiletpaperhanger 1",
        # A game that is won goes on, for the engine.
        "look",
    )
    plan = [
        ["load", small],
        ["reset"],
        *(["step", command] for command in win),
        ["reset"],
        ["random", 0, 12],
        ["load", other],
        ["reset"],
        ["random", 1, 12],
        ["load", small],
        ["reset"],
        ["reset"],
        ["random", 2, 5],
    ]
    transcript = assert_same(plan, fresh)
    assert [entry[3] for entry in transcript if entry[0] == win[-2]] == [True]
    assert play_in(fresh(None), plan) == transcript


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_generated_games_of_all_types(generated_games, fresh):
    plan = []
    for seed, game in enumerate(generated_games.values()):
        walkthrough = json.loads(game.read_text())["walkthrough"]
        plan += [["load", str(game)], ["reset"], *(["step", command] for command in walkthrough)]
        plan += [["step", "help"], ["reset"], ["random", seed, 15]]
    transcript = assert_same(plan, fresh)
    # Each walkthrough wins its game, at its last command.
    ends = [entry[0] for entry in transcript if entry[-4] is True and entry[0] != "help"]
    assert len(ends) == len(generated_games) == 6


# What a grammar may say beside what alfworld's do.
OTHER_GRAMMAR = {
    # What is held, in a command and as an enumeration, which is empty at first.
    'template :: "look";': (
        'template :: "look [{o.name | holds(a:agent, o:object)}] {#list_appliances#}";'
    ),
    # Expressions, a condition with two placeholders of one type, and one that never holds.
    r'"rhs": "You are in the middle of a room[^"]*"': (
        '"rhs": "#pairs#. {a.name | holdsany(a:agent)}, {len(r.name) | openable(r:receptacle)}"}], '
        '"pairs": [{"condition": "opened(x:receptacle)", "rhs": "never"}, {"condition": '
        '"openable(r:receptacle) & openable(s:receptacle)", "rhs": "{#pair# | '
        'openable(r:receptacle) & openable(s:receptacle)}"}], '
        '"pair": [{"rhs": "({r.id.upper() or s.name} {s.name}, {r == s})"'
    ),
}


def test_another_grammar(official_games, fresh, tmp_path):
    game = json.loads(official_games["pick"].read_text())
    for pattern, replacement in OTHER_GRAMMAR.items():
        game["grammar"], count = re.subn(pattern, replacement, game["grammar"])
        assert count == 1
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps(game))
    commands = ("go to cabinet 1", "open cabinet 1", "take toiletpaper 1 from cabinet 1", "dance")
    # Again, since the first time is where the engine learns which facts change.
    plan = [["load", str(path)], *2 * [["reset"], *(["step", command] for command in commands)]]
    transcript = assert_same(plan, fresh)
    looks = {command for entry in transcript for command in entry[-5] if command.startswith("look")}
    assert {" ".join(look.split()[:2]) for look in looks} == {"look nothing", "look toiletpaper"}
    # No two placeholders are one thing, and both orders are there.
    assert transcript[0][0].count("False)") == 2
    assert "never" not in transcript[0][0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_games(official_games, fresh, name):
    plan = [["load", str(official_games[name])], ["reset"], ["random", 3, 20], ["reset"]]
    assert_same([*plan, ["random", 4, 20]], fresh)
