"""The expert's demonstrations: right labels, on its path and beside it, the same every time."""

import pytest

from data_prep.alfworld_demonstrations import (
    DemonstrationSettings,
    play_demonstrations,
    response_of,
)
from data_prep.alfworld_generator import GeneratorSettings, generate
from data_prep.alfworld_tables import read_tables
from holderpo.alfworld.actions import ActionKind, parse_action
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld

PROMPT = TurnPromptSettings(history_length=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    settings = GeneratorSettings(size="tiny", train=1)
    return generate(folder, settings, read_tables(), lambda *_: None)[0][0]


def played(manifest, **settings):
    settings = DemonstrationSettings(**{"episodes_per_game": 1, "max_steps": 50, **settings})
    return play_demonstrations(manifest, PROMPT, settings)


def commands(turns):
    opening, closing = response_of("|").split("|")
    return [turn.response.removeprefix(opening).removesuffix(closing) for turn in turns]


def offered(turn):
    return [line[2:] for line in turn.prompt.splitlines() if line.startswith("- ")]


def test_the_experts_own_path_wins(manifest):
    engine = Engine(cache_folder=None)
    turns = played(manifest, wander=0.0)
    sent = iter(commands(turns))
    for game in manifest.games:
        episode = Episode(manifest.file(game), max_steps=50, engine=engine)
        turn = episode.reset()
        while not turn.done:
            turn = episode.step(next(sent))
        assert turn.won, game.task_type
    assert next(sent, None) is None


@pytest.mark.parametrize("wander", [0.0, 0.5])
def test_every_response_is_valid_where_it_stands(manifest, wander):
    for turn in played(manifest, wander=wander):
        parsed = parse_action(turn.response, offered(turn))
        assert (parsed.kind, parsed.reason) == (ActionKind.VALID, "")


def test_wandering_leaves_the_path_and_the_expert_is_the_label(manifest):
    turns = played(manifest, wander=0.5)
    carried_out = [
        turn.prompt.rpartition("Your command: ")[2].splitlines()[0]
        if "[Step" in turn.prompt
        else ""
        for turn in turns
    ]
    pairs = list(zip(commands(turns), carried_out[1:], strict=False))
    followed = sum(label == done for label, done in pairs if done)
    # A random command is the expert's now and then.
    assert 0.4 < followed / sum(bool(done) for _, done in pairs) < 0.75


def test_the_same_settings_give_the_same_turns_and_others_do_not(manifest):
    first = played(manifest, wander=0.3)
    assert played(manifest, wander=0.3) == first
    assert played(manifest, wander=0.3, seed=1) != first
    twice = played(manifest, wander=0.3, episodes_per_game=2)
    assert len(twice) > len(first)
    # Other draws in the second episode.
    assert len({turn.prompt for turn in twice}) > len({turn.prompt for turn in first})


def test_no_episode_is_longer_than_the_limit(manifest):
    assert len(played(manifest, max_steps=3)) <= 3 * len(manifest.games)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"episodes_per_game": 0}, "episodes_per_game: 0; give 1"),
        ({"max_steps": 0}, "max_steps: 0; give 1"),
        ({"wander": 1.0}, "wander: 1.0; give 0 or more, below 1"),
        ({"wander": -0.1}, "wander: -0.1"),
    ],
)
def test_settings_that_demonstrate_nothing_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        DemonstrationSettings(**settings)
