"""configs/alfworld*: each run has the authors' values and passes the checks."""

from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

from holderpo.alfworld.games import Manifest, read_manifest, write_manifest
from recipe.holderpo.alfworld.agent_settings import AgentSettings, agent_settings
from recipe.holderpo.checks import settings
from recipe.holderpo.checks.first_prompts import FirstPrompts
from recipe.holderpo.checks.plan import rollouts_per_step, updates_per_step
from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.main import config_dir, same_run_under_another_rule
from tests.recipe.alfworld.manifests import write_games
from tests.recipe.composing import composed
from tests.recipe.data_files import tokenizer

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
REAL, STEP = "alfworld_qwen25_1_5b", "alfworld_qwen25_1_5b_step"
SMOKE, OFFICIAL = "alfworld_smoke", "alfworld_official_cpu"
P, C, OURS = "the paper", "the authors' code", "ours"

AUTHORS = {
    "actor_rollout_ref.model.path": ("Qwen/Qwen2.5-1.5B-Instruct", P),
    "data.train_batch_size": (16, C),
    f"{ROLLOUT}.n": (8, C),
    "agent.max_steps": (50, C),
    "agent.prompt.history_length": (2, C),
    "agent.actions.strictness": ("reference", C),
    "agent.reward.success": (10.0, C),
    "agent.reward.failure": (0.0, C),
    "agent.reward.malformed_penalty": (0.1, C),
    "agent.reward.inadmissible_penalty": (0.0, C),
    "data.max_prompt_length": (2048, C),
    "data.max_response_length": (512, C),
    # In prompts: 256 turns.
    f"{ACTOR}.ppo_mini_batch_size": (32, C),
    f"{ACTOR}.ppo_epochs": (1, C),
    f"{ACTOR}.optim.lr": (1e-6, C),
    f"{ACTOR}.optim.lr_scheduler_type": ("constant", C),
    f"{ACTOR}.optim.weight_decay": (0.01, C),
    f"{ACTOR}.optim.clip_grad": (1.0, C),
    f"{ACTOR}.clip_ratio_low": (0.2, C),
    f"{ACTOR}.clip_ratio_high": (0.2, C),
    f"{ACTOR}.use_kl_loss": (True, C),
    f"{ACTOR}.kl_loss_coef": (0.01, C),
    f"{ACTOR}.kl_loss_type": ("low_var_kl", C),
    f"{ACTOR}.entropy_coeff": (0.001, C),
    "algorithm.use_kl_in_reward": (False, C),
    f"{ROLLOUT}.temperature": (1.0, C),
    f"{ROLLOUT}.val_kwargs.temperature": (0.4, C),
    f"{ROLLOUT}.val_kwargs.do_sample": (True, C),
    f"{ROLLOUT}.val_kwargs.n": (1, C),
    "trainer.test_freq": (5, C),
    "trainer.total_training_steps": (150, C),
    "data.val_files": ("data/alfworld/valid_seen.json", C),
    "data.val_max_samples": (-1, OURS),
    "trainer.n_gpus_per_node": (4, P),
    f"{ACTOR}.policy_loss.loss_mode": ("holder", P),
    f"{ACTOR}.policy_loss.clip_level": ("sequence", P),
    "p.shape": ("linear", P),
    "p.start": (1.0, P),
    "p.end": (-1.0, P),
    "p.steps": ("whole_run", OURS),
    "advantage.unit": ("turn", C),
    "advantage.normalize_by_std": (True, C),
}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A working directory with the sets of every run: as many held-out games as are official."""
    monkeypatch.chdir(tmp_path)
    # Its games are none to be played: see tests/recipe/checks/test_first_prompts.py.
    monkeypatch.setattr(settings, "look_at_first_prompts", lambda *_: FirstPrompts())
    official, small = tmp_path / "data/alfworld", tmp_path / "data/alfworld_smoke"
    seen = (35, 13, 27, 16, 25, 24)
    for folder, splits in (
        (official, {"train": (9, 8, 7, 6, 5, 4), "valid_seen": seen, "valid_train": (1,) * 6}),
        (small, {"train": (1,) * 6, "valid_seen": (1,) * 6}),
    ):
        folder.mkdir(parents=True)
        for split, counts in splits.items():
            write_games(folder, split, counts)
        tokenizer().save_pretrained(folder / "tiny_model")
    return tmp_path


def refused(config):
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    return caught.value.problems


def different(one, other):
    """Names of the settings that two experiments have otherwise, as the files say."""
    return {
        name for name in AUTHORS if OmegaConf.select(one, name) != OmegaConf.select(other, name)
    }


def test_every_agent_setting_is_in_the_yaml_at_its_default():
    assert OmegaConf.to_container(composed("alfworld").agent) == asdict(AgentSettings())


def test_the_authors_values(prepared):
    config = composed(REAL)
    values = {name: OmegaConf.select(config, name, throw_on_missing=True) for name in AUTHORS}
    assert values == {name: value for name, (value, _) in AUTHORS.items()}
    plan = check_config(config)
    assert plan.warnings == ()
    assert rollouts_per_step(config) == 128
    assert updates_per_step(config) == 13
    assert "p          +1 to -1 over 150 rollout rounds, at its end from round 150 on" in plan.lines
    assert (
        "games      held out 140: pick 35, look 13, clean 27, heat 16, cool 25, pick2 24"
        in plan.lines
    )
    assert "rollouts   16 games x 8 episodes, at most 50 turns of 512 tokens each" in plan.lines
    assert "devices    1 x 4 cuda" in plan.lines


def test_credit_by_step_is_the_only_difference(prepared):
    real, step = composed(REAL), composed(STEP)
    assert check_config(composed(STEP)).warnings == ()
    assert different(real, step) == {"advantage.unit"}
    credit = (step.advantage.unit, step.advantage.step_weight, step.advantage.step_discount)
    assert credit == ("episode", 1.0, 0.95)
    real.trainer.experiment_name = step.trainer.experiment_name
    real.advantage = step.advantage
    assert real == step


@pytest.mark.parametrize("name", [REAL, STEP])
def test_two_gpus_compute_the_same(name, prepared):
    config, four = composed(name, ["device=cuda_2x80gb"]), composed(name)
    four.trainer.n_gpus_per_node = 2
    assert config == four
    plan = check_config(config)
    assert plan.warnings == ()
    assert "devices    1 x 2 cuda" in plan.lines


@pytest.mark.parametrize("name", [SMOKE, OFFICIAL])
def test_the_small_runs_keep_what_does_not_need_a_gpu(name, prepared):
    small, real = composed(name), composed("alfworld")
    assert check_config(small).warnings == ()
    assert updates_per_step(small) == 2
    same = ["p", "p_range", "algorithm", f"{ACTOR}.policy_loss", f"{ACTOR}.optim"]
    same += [f"{ROLLOUT}.val_kwargs", f"{ACTOR}.entropy_coeff", "data.custom_cls", "data.shuffle"]
    same += ["agent.prompt", "agent.actions", "agent.reward", "agent.failed_episodes"]
    for key in same:
        assert OmegaConf.select(small, key) == OmegaConf.select(real, key), key
    assert agent_settings(small).max_steps == 3


def test_the_official_small_run_holds_out_one_game_of_each_type(prepared):
    lines = check_config(composed(OFFICIAL)).lines
    assert "games      held out 6: pick 1, look 1, clean 1, heat 1, cool 1, pick2 1" in lines


def test_every_run_is_called_by_its_own_name():
    for path in config_dir().glob("alfworld*.yaml"):
        assert composed(path.stem).trainer.experiment_name == path.stem


def test_what_they_have_in_common_is_no_run(prepared):
    (line,) = refused(composed("alfworld"))
    assert line.startswith("actor_rollout_ref.model.path: ")


@pytest.mark.parametrize(
    ("overrides", "start", "end"),
    [
        (["+method=linear"], 1, -1),
        (["+method=linear_asc"], -1, 1),
        (["p=cosine"], 1, -1),
        (["p.start=3"], 3, -1),
        (["+method=grpo"], 1, 1),
        (["p=constant", "p.value=0"], 0, 0),
        (["+method=gspo"], 0, 0),
    ],
)
def test_methods_and_rules_bring_their_own_order(overrides, start, end, prepared):
    plan = check_config(composed(REAL, overrides))
    assert (plan.controller.order(0).p, plan.controller.order(149).p) == (start, end)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.train_files=nowhere.json"], "data.train_files: nowhere.json does not exist; prep"),
        (["data.shuffle=true"], "data.shuffle: true; which game"),
        (["agent.max_steps=0"], "agent.max_steps: 0"),
        (["agent=null"], "data.custom_cls.name: 'GameRows', but agent is null"),
        (["agent=5"], "agent: 5; give settings"),
        (["device=cpu"], "actor_rollout_ref.actor.use_kl_loss: true; verl keeps the reference"),
        ([f"{ACTOR}.kl_loss_coef=-1"], f"{ACTOR}.kl_loss_coef: -1"),
        ([f"{ROLLOUT}.max_model_len=2000"], f"{ROLLOUT}.max_model_len: 2000; responses would be"),
        (
            [f"{ACTOR}.ppo_max_token_len_per_gpu=2000"],
            f"{ACTOR}.ppo_max_token_len_per_gpu: 2000; a micro-batch must take one row",
        ),
    ],
)
def test_what_cannot_be_played_is_refused(overrides, expected, prepared):
    problems = refused(composed(REAL, overrides))
    assert any(line.startswith(expected) for line in problems), problems


def test_rows_of_an_update_may_be_more_than_prompts_without_dynamic_batches(prepared):
    overrides = [
        f"{ACTOR}.use_dynamic_bsz=false",
        f"{ACTOR}.ppo_micro_batch_size_per_gpu=32",
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=32",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=32",
        f"{ACTOR}.ppo_max_token_len_per_gpu=16384",
    ]
    assert check_config(composed(REAL, overrides)).lines


def test_a_run_on_games_says_how_to_make_the_same_under_another_rule():
    line = same_run_under_another_rule(composed(REAL), [f"--config-name={REAL}"])
    assert "p=sign_matched" in line


def test_held_out_games_may_be_those_of_two_splits(prepared):
    seen = read_manifest(prepared / "data/alfworld/valid_seen.json")
    write_games(prepared / "data/alfworld", "valid_unseen", (2, 2, 2, 2, 2, 2))
    both = "data.val_files=[data/alfworld/valid_seen.json,data/alfworld/valid_unseen.json]"
    lines = check_config(composed(REAL, [both])).lines
    assert any(line.startswith("games      held out 152: ") for line in lines)
    copied = Manifest("valid_seen", seen.folder, seen.games[:3])
    write_manifest(prepared / "data/alfworld/few.json", copied)
    mixed = "data.val_files=[data/alfworld/valid_seen.json,data/alfworld/few.json]"
    assert refused(composed(REAL, [mixed]))[0].startswith("data.val_files: several manifests")
