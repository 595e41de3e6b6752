"""The expert plays both kinds of game file, for itself alone, and is never at a loss."""

import json
import random
import shutil

import pytest

from holderpo.alfworld.engine import Engine, GameError
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.expert import Expert
from tests.alfworld_games import needs_alfworld

pytestmark = needs_alfworld

SMALL = ("pick", "look", "clean", "two")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(cache_folder=tmp_path_factory.mktemp("cache"), facts=True)


def play(episode):
    """The commands of an episode that follows the expert, and how it ends."""
    turn = episode.reset()
    while not turn.done:
        assert turn.expert_action in turn.admissible
        turn = episode.step(turn.expert_action)
    assert turn.expert_action is None
    return episode.actions, episode.outcome


@pytest.mark.parametrize("name", SMALL)
def test_official_games_are_won_in_their_own_wording(name, engine, official_games):
    actions, outcome = play(Episode(official_games[name], engine=engine, expert_seed=0))
    assert outcome == "won"
    assert not any(action.startswith("move ") for action in actions)
    assert sum(action.startswith("put ") for action in actions) == {"two": 2, "look": 0}.get(
        name, 1
    )


def test_generated_games_of_all_types_are_won_in_theirs(engine, generated_games):
    for game in generated_games.values():
        actions, outcome = play(Episode(game, engine=engine, expert_seed=0))
        assert outcome == "won", game
        assert not any(action.startswith("put ") for action in actions)
        assert "help" not in actions


def test_a_receptacle_at_its_place_is_examined_and_then_opened(engine, official_games):
    episode = Episode(official_games["clean"], engine=engine, expert_seed=0)
    turn = episode.reset()
    while turn.expert_action != "examine cabinet 4":
        turn = episode.step(turn.expert_action)
    assert "go to cabinet 4" not in turn.admissible
    turn = episode.step(turn.expert_action)
    assert turn.observation == "The cabinet 4 is closed."
    assert turn.expert_action == "open cabinet 4"


@pytest.mark.slow
def test_large_official_games_are_won_with_time(engine, official_games):
    for name, game in official_games.items():
        episode = Episode(game, engine=engine, expert_seed=0, max_steps=150)
        assert play(episode)[1] == "won", name


def without_an_answer(game, folder):
    """A copy of a game whose expert is told to heat: it asks for a microwave, and has none."""
    return other_task(game, folder, task_type="pick_heat_then_place_in_recep")


def test_interleaved_episodes_do_not_disturb_each_other(engine, official_games, tmp_path):
    game = without_an_answer(official_games["pick"], tmp_path)
    seeds = range(8)
    alone = [
        play(Episode(game, engine=engine, max_steps=40, expert_seed=seed))[0] for seed in seeds
    ]
    assert len(set(alone)) == 8
    random.seed(7)
    before = random.getstate()
    episodes = [
        Episode(game, engine=Engine(facts=True, cache_folder=None), max_steps=40, expert_seed=seed)
        for seed in seeds
    ]
    turns = {episode: episode.reset() for episode in episodes}
    for _ in range(40):
        for episode, turn in turns.items():
            if not turn.done:
                turns[episode] = episode.step(turn.expert_action)
    assert [episode.actions for episode in episodes] == alone
    assert random.getstate() == before


def other_task(game, folder, **params):
    """A copy of a game whose expert is told another task than the engine."""
    copy = shutil.copytree(game.parent, folder / "trial")
    task = copy / "traj_data.json"
    told = json.loads(task.read_text())
    told["task_type"] = params.pop("task_type", told["task_type"])
    told["pddl_params"] |= params
    task.write_text(json.dumps(told))
    return copy / game.name


def test_facts_may_come_in_any_order(engine, official_games, tmp_path):
    # Soap bottles stand in several cabinets, and it looks at the first one that it is told of.
    game = other_task(
        official_games["clean"],
        tmp_path,
        task_type="pick_two_obj_and_place",
        object_target="SoapBottle",
        parent_target="Cabinet",
    )
    engine.load(game)

    def commands(reorder):
        state, expert = engine.reset(), Expert(game, 0)
        actions = [expert.first(state)]
        for _ in range(30):
            state = engine.step(actions[-1])
            reorder(state["facts"])
            actions.append(expert.next(state, actions[-1]))
        return actions

    assert commands(list) == commands(list.reverse) == commands(random.Random(0).shuffle)


def test_it_goes_on_after_200_steps(engine, official_games):
    episode = Episode(official_games["pick"], engine=engine, max_steps=250, expert_seed=0)
    turn = episode.reset()
    for _ in range(220):
        turn = episode.step("look")
        assert turn.expert_action in turn.admissible
    while not turn.done:
        turn = episode.step(turn.expert_action)
    assert turn.won


@pytest.mark.parametrize(
    "command", ["go to fridge 7", "", " ", "(no action)", "put it down", "help"]
)
def test_a_command_that_changes_nothing_leaves_its_advice(command, engine, official_games):
    episode = Episode(official_games["pick"], engine=engine, expert_seed=0)
    turn = episode.reset()
    while not turn.done:
        assert episode.step(command).expert_action == turn.expert_action
        turn = episode.step(turn.expert_action)
    assert turn.won


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", range(3))
def test_it_watches_another_player_and_takes_over(name, seed, engine, official_games):
    draw = random.Random(seed)
    episode = Episode(official_games[name], engine=engine, max_steps=150, expert_seed=0)
    turn = episode.reset()
    for _ in range(30):
        turn = episode.step(draw.choice([*turn.admissible, "go to nowhere 1"]))
        if turn.done:
            return
        assert turn.expert_action in turn.admissible
    while not turn.done:
        turn = episode.step(turn.expert_action)
    assert turn.won


def test_where_the_policy_has_no_answer_any_command_is_tried(engine, official_games, tmp_path):
    game = without_an_answer(official_games["pick"], tmp_path)
    engine.load(game)
    state, expert = engine.reset(), Expert(game, 0)
    action = expert.first(state)
    for _ in range(30):
        state = engine.step(action)
        action = expert.next(state, action)
        assert action in state["admissible_commands"]
    assert expert.num_lost > 0


def test_it_never_asks_for_help_nor_listens_to_it(engine, generated_games, tmp_path):
    game = without_an_answer(generated_games["pick_and_place_simple"], tmp_path)
    for seed in range(4):
        episode = Episode(game, engine=engine, max_steps=40, expert_seed=seed)
        turn = episode.reset()
        assert "help" in turn.admissible
        assert episode.step("help").expert_action == turn.expert_action
        assert "help" not in play(episode)[0]


def test_white_space_around_a_command_means_nothing_to_it(engine, official_games):
    game = official_games["pick"]
    actions, _ = play(Episode(game, engine=engine, expert_seed=0))
    padded = Episode(game, engine=engine, expert_seed=0)
    turn = padded.reset()
    while not turn.done:
        turn = padded.step(f" {turn.expert_action}\n")
    assert tuple(action.strip() for action in padded.actions) == actions


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        ("no JSON", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'pddl_params'"),
        ('{"task_type": "fly", "pddl_params": {}}', "Invalid Task Type: fly"),
        ('{"task_type": "pick_and_place_simple", "pddl_params": {}}', "KeyError: 'object_target'"),
    ],
)
def test_a_game_without_a_task_is_named(content, reason, engine, tmp_path):
    if content is not None:
        (tmp_path / "traj_data.json").write_text(content)
    with pytest.raises(GameError, match=r"traj_data\.json: says no task") as caught:
        Expert(tmp_path / "game.tw-pddl", 0)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
