"""An episode ends with its goal or its limit, and only its goal is success."""

import pytest

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turns import Outcome
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld

# How the smallest official game is won.
WIN = (
    "go to cabinet 1",
    "open cabinet 1",
    "take toiletpaper 1 from cabinet 1",
    "go to toiletpaperhanger 1",
    "put toiletpaper 1 in/on toiletpaperhanger 1",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(cache_folder=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def new(engine, official_games):
    return lambda **settings: Episode(official_games["pick"], engine=engine, **settings)


def play(episode, actions):
    return [episode.reset(), *map(episode.step, actions)]


def test_a_game_is_won_by_its_goal(new):
    episode = new()
    first, *turns = play(episode, WIN)
    assert first.observation.endswith("Your task is to: put a toiletpaper in toiletpaperhanger.")
    assert "toiletpaperhanger 1" in first.observation
    assert first.admissible == tuple(sorted(first.admissible))
    before = [first, *turns[:-1]]
    assert all(action in turn.admissible for action, turn in zip(WIN, before, strict=True))
    assert not any(turn.won or turn.done for turn in before)
    assert turns[-1].won
    assert turns[-1].done
    assert (episode.outcome, episode.num_steps, episode.actions) == (Outcome.WON, 5, WIN)


def test_the_last_step_allowed_still_wins(new):
    episode = new(max_steps=len(WIN))
    assert play(episode, WIN)[-1].won
    assert episode.outcome is Outcome.WON


def test_one_step_less_is_the_limit_and_no_success(new):
    episode = new(max_steps=len(WIN) - 1)
    last = play(episode, WIN[:-1])[-1]
    assert (last.done, last.won, episode.outcome) == (True, False, Outcome.STEP_LIMIT)


def test_fifty_times_look_is_a_failure(new):
    episode = new()
    turns = play(episode, ["look"] * 50)
    assert [turn.done for turn in turns] == [False] * 50 + [True]
    assert not turns[-1].won
    assert episode.outcome is Outcome.STEP_LIMIT


@pytest.mark.parametrize(
    "command", ["dance", "", "LOOK", "look.", "go to cabinet", "take toiletpaper 1 from cabinet 1"]
)
def test_what_is_not_admissible_changes_nothing_and_is_a_step(new, command):
    episode = new(max_steps=2)
    first, turn, last = play(episode, [command, " look\n"])
    assert turn.observation == "Nothing happens."
    assert turn.admissible == first.admissible
    assert not turn.done
    # White space around a command is no part of it.
    assert last.observation.startswith("You are in the middle of a room.")
    assert last.done
    assert episode.num_steps == 2


def test_an_episode_that_is_over_or_not_started_takes_no_step(new):
    episode = new(max_steps=1)
    assert episode.outcome is None
    with pytest.raises(RuntimeError, match=r"not started; call reset\(\) first"):
        episode.step("look")
    play(episode, ["look"])
    with pytest.raises(RuntimeError, match=r"over \(step_limit\)"):
        episode.step("look")
    assert episode.num_steps == 1


def test_a_reset_starts_it_again(new):
    episode = new()
    turns = play(episode, WIN)
    again = episode.reset()
    assert (again, episode.outcome, episode.num_steps) == (turns[0], None, 0)
    assert [again, *map(episode.step, WIN)] == turns


def test_of_two_episodes_in_one_engine_only_the_one_reset_last_goes_on(new):
    one, other = new(), new()
    one.reset()
    other.reset()
    with pytest.raises(RuntimeError, match="plays another one"):
        one.step("look")
    assert other.step("look").observation


def test_settings_that_cannot_be_right_are_refused(new):
    with pytest.raises(ValueError, match="max_steps: 0; give at least 1"):
        new(max_steps=0)
    with pytest.raises(ValueError, match="keeps no facts"):
        new(expert_seed=0)


def test_a_receptacle_where_one_stands_already_is_not_gone_to(engine, official_games):
    # Two cupboards, drawers or shelves often stand at one place.
    episode = Episode(official_games["look"], engine=engine)
    first = episode.reset()
    places = [action for action in first.admissible if action.startswith("go to ")]
    found = 0
    for place in places:
        there = play(episode, [place])[-1]
        shared = set(places) - set(there.admissible) - {place}
        for other in sorted(shared):
            found += 1
            assert episode.step(other).observation == "Nothing happens."
    assert found


def test_of_eight_games_side_by_side_the_one_that_is_solved_is_won(new, official_games, tmp_path):
    engines = [Engine(cache_folder=tmp_path) for _ in range(8)]
    episodes = [Episode(official_games["pick"], max_steps=5, engine=each) for each in engines]
    for episode in episodes:
        episode.reset()
    for step, command in enumerate(WIN):
        for place, episode in enumerate(episodes):
            # The others do the same, but one step too late.
            episode.step(command if place == 3 else (WIN[step - 1] if step else "look"))
    assert [episode.outcome for episode in episodes] == [
        Outcome.WON if place == 3 else Outcome.STEP_LIMIT for place in range(8)
    ]


def test_a_second_object_is_not_taken_while_one_is_held(engine, official_games):
    episode = Episode(official_games["two"], engine=engine)
    turns = play(
        episode,
        ["go to sidetable 1", "take spraybottle 2 from sidetable 1"],
    )
    second = "take spraybottle 1 from sidetable 1"
    assert second in turns[-2].admissible
    assert second not in turns[-1].admissible
    assert episode.step(second).observation == "Nothing happens."
    assert episode.step("inventory").observation == "You are carrying: a spraybottle 2."
