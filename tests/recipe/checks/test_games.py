"""Games instead of prompts: manifests, settings of the data, sizes of a round, workers."""

import json

import pytest

from recipe.holderpo.checks import machine
from recipe.holderpo.checks.agent import agent_problems, agent_warnings
from recipe.holderpo.checks.batches import batch_size_problems
from recipe.holderpo.checks.from_machine import fill_in
from recipe.holderpo.checks.games import games_lines, look_at_games
from recipe.holderpo.checks.machine import cluster_problems, machine_problems
from recipe.holderpo.checks.plan import updates_per_step
from recipe.holderpo.checks.this_machine import machine_here
from recipe.holderpo.checks.turn_budget import turn_budget
from recipe.holderpo.checks.unread import unread_warnings
from tests.recipe.alfworld.manifests import write_games
from tests.recipe.checks.checking import ACTOR, ROLLOUT
from tests.recipe.composing import composed

REAL, SMOKE = "alfworld_qwen25_1_5b", "alfworld_smoke"


@pytest.fixture
def folder(tmp_path):
    write_games(tmp_path, "train")
    write_games(tmp_path, "valid_seen", (2, 1, 1, 1, 1, 1))
    return tmp_path


def of(folder, *overrides, name=REAL):
    files = [f"data.train_files={folder}/train.json", f"data.val_files={folder}/valid_seen.json"]
    return composed(name, [*files, *overrides])


def test_good_games_are_found_and_counted(folder):
    config = of(folder, "data.val_max_samples=6")
    games = look_at_games(config)
    assert (games.problems, games.warnings) == ([], [])
    assert list(games_lines(config, games)) == [
        "games      train 18: pick 5, look 4, clean 3, heat 2, cool 2, pick2 2; 16 a round, "
        "133.33 passes",
        "games      held out 6: pick 1, look 1, clean 1, heat 1, cool 1, pick2 1",
    ]
    assert all(file.is_file() for used in games.used.values() for _, file in used)


def test_a_manifest_that_is_missing_is_left_to_the_check_of_files(folder):
    games = look_at_games(of(folder, f"data.train_files={folder}/none.json"))
    assert (games.problems, list(games.used)) == ([], ["data.val_files"])


@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (lambda f: (f / "train.json").write_text("{"), "train.json is no manifest"),
        (lambda f: (f / "train.json").write_text("{}"), "train.json lacks 'split'"),
        (lambda f: (f / "train.json").write_bytes(b"PAR1\x80"), "train.json is no manifest"),
        (lambda f: _first_game(f).write_text("other"), "1 are not as listed: "),
        (lambda f: _first_game(f).unlink(), "game.tw-pddl is missing"),
        (lambda f: _change_digest(f / "train.json"), "its digest is not that of its games"),
    ],
)
def test_broken_manifests_and_changed_games_are_one_line(breaks, expected, folder):
    breaks(folder)
    (problem,) = look_at_games(of(folder)).problems
    assert problem.startswith(f"data.train_files: {folder}/train.json")
    assert expected in problem
    assert "data_prep.alfworld" in problem


def _first_game(folder):
    return next(folder.rglob("train/*/trial/game.tw-pddl"))


def _change_digest(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "0"}))


def test_sets_that_cannot_be_told_apart_are_refused(folder, tmp_path_factory):
    (same,) = look_at_games(of(folder, f"data.val_files={folder}/train.json")).problems
    assert same.startswith("data.val_files: as data.train_files; give games")
    other = write_games(tmp_path_factory.mktemp("other"), "valid_seen", (1, 1, 1, 1, 1, 1))
    listed = f"data.val_files=[{folder}/valid_seen.json,{other}]"
    (mixed,) = look_at_games(of(folder, listed)).problems
    assert mixed.startswith("data.val_files: several manifests of the split valid_seen; give one")
    (none,) = look_at_games(of(folder, "data.val_files=[]")).problems
    assert none.startswith("data.val_files: []; give a manifest")
    (remote,) = look_at_games(of(folder, "data.val_files=hdfs://a.json")).problems
    assert remote == (
        "data.val_files: hdfs://a.json; give a manifest on this machine, as its games are"
    )


def test_odd_sets_warn(folder):
    twice = f"data.train_files=[{folder}/train.json,{folder}/train.json]"
    assert look_at_games(of(folder, twice)).warnings == [
        "data.train_files: 18 games are listed more than once; they count as often"
    ]
    both = f"data.val_files=[{folder}/train.json,{folder}/valid_seen.json]"
    assert look_at_games(of(folder, both)).warnings == [
        "data.val_files: 18 of its 25 games are trained on too: success in them is not that in "
        "held-out games"
    ]
    small, lacking = look_at_games(of(folder, "data.train_max_samples=4")).warnings
    assert small == (
        "data.train_batch_size: 16, but data.train_files has 4 games: some come more than once in "
        "a round, as groups of their own"
    )
    assert lacking.startswith("data.train_files: no game of ")
    assert lacking.count(",") == 1


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("data.shuffle=true", "data.shuffle: true; which game a group plays follows from"),
        ("data.custom_cls.path=null", "data.custom_cls.path: null; an agent plays games"),
        ("data.seed=null", "data.seed: None; the order of the games needs a whole number"),
        ("agent.max_steps=0", "agent.max_steps: 0; give a number of commands, 1 or more"),
        ("agent.failed_episodes=keep", "agent.failed_episodes: 'keep'; give drop or zero"),
        ("agent.actions.strictness=lax", "agent.actions.strictness: 'lax'; give one of"),
        ("+agent.maxsteps=3", "agent.maxsteps: unknown; give one of max_steps"),
        ("agent=3", "agent: 3; give settings"),
        ("agent.environment.num_workers=0", "agent.environment.num_workers: 0; give 1 or more"),
        ("agent.environment.num_workers=abc", "agent.environment.num_workers: 'abc'; give 1 or"),
        ("agent.environment.engine.fast='no'", "agent.environment.engine.fast: 'no'; give true"),
        (
            "algorithm.filter_groups.enable=true",
            "algorithm.filter_groups.enable: true with agent.failed_episodes drop; verl ends",
        ),
        (
            "agent.prompt.first_template='{observation}'",
            "agent.prompt.first_template: lacks {actions}; add it",
        ),
        ("reward.reward_kwargs.truncated=zero", "reward.reward_kwargs.truncated: 'zero'; the env"),
        ("reward.reward_kwargs.truncated=soft", "reward.reward_kwargs.truncated: 'soft'; the env"),
    ],
)
def test_settings_under_which_no_episode_can_be_played_are_refused(overrides, expected):
    (problem,) = agent_problems(composed(REAL, [overrides]))
    assert problem.startswith(expected)


@pytest.mark.parametrize("overrides", [[], ["reward.reward_kwargs.truncated=mask"]])
def test_settings_of_the_experiments_are_right(overrides):
    assert list(agent_problems(composed(REAL, overrides))) == []
    assert list(agent_problems(composed("demo"))) == []


def test_groups_are_filtered_where_every_episode_has_a_row():
    overrides = ["algorithm.filter_groups.enable=true", "agent.failed_episodes=zero"]
    assert list(agent_problems(composed(REAL, overrides))) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["no_progress_seconds=1200"], "agent.episode_seconds: 1200, and no_progress_seconds is"),
        (["+method=verl_geo_mean"], "actor_rollout_ref.actor.policy_loss.loss_mode: 'geo_mean' di"),
        (["p=reward"], "p: reward_high is 1, the reward of a right answer, and an episode that"),
        (["p=sign_matched", "p@p.negative=reward"], "p: reward_high is 1, the reward of a right"),
    ],
)
def test_what_nobody_would_expect_is_warned_of(overrides, expected):
    (warning,) = agent_warnings(composed(REAL, overrides))
    assert warning.startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["p=reward", "p.reward_high=8"],
        ["p=reward", "agent.reward.success=1"],
        ["p=reward", "+method=verl_gspo"],
    ],
)
def test_there_is_nothing_to_warn_of(overrides):
    assert list(agent_warnings(composed(REAL, overrides))) == []


def test_games_without_an_agent_are_refused():
    (problem,) = agent_problems(composed(REAL, ["agent=null"]))
    assert problem.startswith("data.custom_cls.name: 'GameRows', but agent is null; its rows are")


def test_a_data_class_of_ones_own_is_not_judged():
    own = ["data.custom_cls.path=mine.py", "data.custom_cls.name=Mine", "data.shuffle=true"]
    assert list(agent_problems(composed(REAL, own))) == []


def test_settings_that_an_agent_does_not_read_warn():
    own = ["reward.custom_reward_function.path=mine.py", "data.filter_overlong_prompts=true"]
    first, second = unread_warnings(composed(REAL, own))
    assert first.startswith("data.filter_overlong_prompts has no effect: with an agent, rows are")
    assert second.startswith("reward.custom_reward_function.path has no effect: with an agent, the")
    assert list(unread_warnings(composed(REAL))) == []


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        # More rows for an update than there are prompts: a round has one for each turn.
        (REAL, [f"{ACTOR}.ppo_mini_batch_size=64"], None),
        (REAL, [f"{ACTOR}.ppo_mini_batch_size=7"], None),
        (REAL, [f"{ROLLOUT}.n=7", "trainer.n_gpus_per_node=3"], "trainer.n_gpus_per_node"),
        (SMOKE, [], None),
        (
            SMOKE,
            [
                f"{ACTOR}.use_dynamic_bsz=false",
                f"{ACTOR}.ppo_micro_batch_size_per_gpu=3",
                f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=8",
            ],
            f"{ACTOR}.ppo_micro_batch_size_per_gpu: 3; give a number that divides the 8 rows",
        ),
        (
            SMOKE,
            [
                f"{ACTOR}.use_dynamic_bsz=false",
                f"{ACTOR}.ppo_micro_batch_size_per_gpu=4",
                # Not of the 8 episodes alone, but of any number of mini-batches.
                f"{ACTOR}.ppo_mini_batch_size=3",
                f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=6",
            ],
            None,
        ),
        (SMOKE, ["data.gen_batch_size=3"], "data.gen_batch_size: 3"),
    ],
)
def test_a_mini_batch_of_turns_divides_over_ranks_and_micro_batches(name, overrides, expected):
    problems = list(batch_size_problems(composed(name, overrides)))
    assert bool(problems) == (expected is not None)
    assert all(problem.startswith(expected) for problem in problems)


def test_the_budget_of_turns_is_counted_as_verl_fills_mini_batches():
    budget = turn_budget(composed(REAL))
    # 16 x 8 episodes of 1 to 50 turns, 32 x 8 rows an update.
    assert (budget.rows(1), budget.rows(25), budget.rows(50)) == (128, 3200, 6400)
    assert (budget.updates(1), budget.updates(2), budget.updates(2.01)) == (1, 1, 2)
    assert list(budget.lines()) == [
        "rows       one per turn: 128 to 6,400 in a round, 3,200 at 25 turns an episode (half of "
        "agent.max_steps, 50)",
        "updates    1 to 25 per round, 13 at 25 turns an episode, 256 rows each",
    ]
    assert list(budget.warnings()) == []
    assert updates_per_step(composed(REAL, [f"{ACTOR}.ppo_epochs=2"])) == 26
    one_step = turn_budget(composed(REAL, ["agent.max_steps=1"]))
    assert next(one_step.lines()) == (
        "rows       one per turn: 128 to 128 in a round, 128 at 1 turns an episode"
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([f"{ACTOR}.ppo_mini_batch_size=800"], "a round has at most 6,400 turns and an update "),
        ([f"{ACTOR}.ppo_mini_batch_size=400"], "rounds of up to 3,200 turns have one update; "),
        ([f"{ACTOR}.ppo_mini_batch_size=399"], None),
        ([f"{ACTOR}.ppo_mini_batch_size=800", f"{ACTOR}.ppo_epochs=2"], None),
    ],
)
def test_one_update_a_round_leaves_p_without_effect(overrides, expected):
    warnings = list(turn_budget(composed(REAL, overrides)).warnings())
    assert len(warnings) == (expected is not None)
    for warning in warnings:
        assert warning.startswith(expected)
        assert "p has no effect" in warning


@pytest.mark.parametrize(
    ("cpus", "overrides", "expected"),
    [
        # 3 for each of 4 devices, 1 for TransferQueue's controller and 8 for its storage, which
        # the machine has CPUs for.
        (22, [], None),
        (21, [], "agent.environment.num_workers: 1 of 0.5 CPUs need 0.5, and 0 are free; lower"),
        (22, ["agent.environment.num_workers=2"], None),
        (
            22,
            ["agent.environment.num_workers=3"],
            "agent.environment.num_workers: 3 of 0.5 CPUs need 1.5, and 1 are free; give at most 2",
        ),
    ],
)
def test_environment_workers_fit_beside_what_else_is_reserved(
    cpus, overrides, expected, monkeypatch
):
    config = composed(REAL, [*overrides, f"ray_kwargs.ray_init.num_cpus={cpus}"])
    here = machine_here()
    fill_in(config, here, on_cluster=False)
    for found in (machine_problems(config, here), cluster_problems(config, {"CPU": cpus})):
        problems = list(found)
        assert len(problems) == (expected is not None)
        assert all(problem.startswith(expected) for problem in problems)


def test_what_plays_games_has_to_be_installed(monkeypatch):
    monkeypatch.setattr(machine, "missing_packages", lambda: "alfworld: not installed; run it")
    assert list(machine_problems(composed(SMOKE), None)) == [
        "agent: games cannot be played here; alfworld: not installed; run it"
    ]
    assert list(machine_problems(composed("demo"), None)) == []
