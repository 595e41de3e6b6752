"""One command has two wordings; a game file knows one and is given it."""

import pytest

from holderpo.alfworld.actions import parse_action
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.wording import in_new_wording, in_own_wording
from tests.alfworld_games import needs_alfworld

# A game of each kind, standing before a desk with a mug in hand.
OLD = ("go to bed 1", "inventory", "look", "put mug 1 in/on desk 1")
NEW = ("go to bed 1", "help", "inventory", "look", "move mug 1 to desk 1")


@pytest.mark.parametrize("admissible", [OLD, NEW])
@pytest.mark.parametrize(
    "command",
    [
        "move mug 1 to desk 1",
        "put mug 1 in/on desk 1",
        "put mug 1 in desk 1",
        "put mug 1 on desk 1",
    ],
)
def test_every_wording_is_understood_in_both_kinds_of_file(command, admissible):
    assert in_own_wording(command, admissible) == admissible[-1]


@pytest.mark.parametrize("admissible", [OLD, NEW])
@pytest.mark.parametrize(
    "command",
    [
        # Well-worded, but not admissible: never bent into another command.
        "put mug 2 in desk 1",
        "put mug 1 in desk 2",
        "move mug 1 to bed 1",
        # No wording of any file or task.
        "place mug 1 on desk 1",
        "put mug 1 into desk 1",
        "put mug 1 to desk 1",
        "move mug 1 in desk 1",
        "put mug 1 in/on desk 1.",
        "put mug 1",
        "put mug 1 in desk 1 in desk 1",
        "",
    ],
)
def test_what_is_not_admissible_stays_as_it_is(command, admissible):
    assert in_own_wording(command, admissible) == command


@pytest.mark.parametrize("admissible", [OLD, NEW])
def test_other_commands_have_one_wording(admissible):
    for command in admissible[:-1]:
        assert in_own_wording(command, admissible) == command
        assert in_new_wording(command) == command


def test_the_newer_wording_of_either_kind():
    assert {in_new_wording(OLD[-1]), in_new_wording(NEW[-1])} == {"move mug 1 to desk 1"}


@needs_alfworld
def test_a_game_of_each_kind_is_won_in_the_wording_of_the_other(official_games, generated_games):
    engine = Engine(facts=True)
    games = {
        official_games["pick"]: "move {} to {}",
        generated_games["pick_and_place_simple"]: "put {} in {}",
    }
    for game, wording in games.items():
        episode = Episode(game, engine=engine, expert_seed=0)
        turn, num_reworded = episode.reset(), 0
        while not turn.done:
            command = turn.expert_action
            verb, *words = command.split()
            if verb in ("put", "move"):
                command = wording.format(" ".join(words[:2]), " ".join(words[3:]))
                assert command not in turn.admissible
                num_reworded += 1
            action = parse_action(f"<think></think><action>{command}</action>", turn.admissible)
            turn = episode.step(action.command)
        assert turn.won
        assert num_reworded == 1
