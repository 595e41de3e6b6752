"""Composing, checking and planning, without starting anything."""

import json
from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.main import config_dir
from tests.recipe.composing import composed

# Those on games have their own data, see tests/recipe/test_alfworld_configs.py.
EXPERIMENTS = sorted(
    path.stem
    for path in config_dir().glob("*.yaml")
    if path.stem != "base" and not path.stem.startswith("alfworld")
)


ACTOR = "actor_rollout_ref.actor"
LOSS = f"{ACTOR}.policy_loss"
FOUR_RANKS = [
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=64",
]


@pytest.fixture(scope="module")
def data(existing, tmp_path_factory):
    """Files that exist, so that only what a test changes is wrong."""
    return [*existing, f"run_dir={tmp_path_factory.mktemp('data')}/run"]


def problems(name, overrides):
    with pytest.raises(ConfigError) as caught:
        check_config(composed(name, overrides))
    return caught.value.problems


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_passes_the_checks(name, data):
    plan = check_config(composed(name, data))
    assert plan.lines


def test_a_gpu_configuration_is_checked_without_a_gpu(data):
    overrides = [*data, "device=cuda", "trainer.n_gpus_per_node=4", *FOUR_RANKS]
    plan = check_config(composed("demo", overrides))
    assert "devices    1 x 4 cuda" in plan.lines


def test_all_problems_come_at_once_each_with_field_value_and_fix(data):
    found = problems(
        "demo",
        [
            *data[1:],
            "p.shape=liner",
            "advantage.transforms=[{name: clmp}]",
            "actor_rollout_ref.actor.ppo_mini_batch_size=7",
            "actor_rollout_ref.actor.clip_ratio_low=1.5",
            "actor_rollout_ref.actor.loss_agg_mode=token-mean",
            "actor_rollout_ref.rollout.n=1",
            "trainer.v1.trainer_mode=separate_async",
            "data.train_files=nowhere.parquet",
        ],
    )
    text = "\n".join(found)
    for expected in (
        "p.shape: 'liner'; give one of",
        "advantage.transforms: unknown name 'clmp'; give one of",
        "actor_rollout_ref.actor.ppo_mini_batch_size: 7; give a number of prompts that divides",
        "actor_rollout_ref.actor.clip_ratio_low: 1.5; give a distance from 1 in (0, 1)",
        "actor_rollout_ref.actor.loss_agg_mode: 'token-mean'; the Hölder loss needs",
        "actor_rollout_ref.rollout.n: 1; a group-relative advantage needs at least 2",
        "trainer.v1.trainer_mode: 'separate_async'",
        "data.train_files: nowhere.parquet does not exist; prepare it",
    ):
        assert expected in text
    assert len(found) == 8


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("actor_rollout_ref.actor.policy_loss.loss_mode=holdr", "give one of"),
        ("algorithm.adv_estimator=holdr", "algorithm.adv_estimator: 'holdr'; give one of"),
        ("algorithm.adv_estimator=gae", "algorithm.adv_estimator: 'gae'"),
        ("actor_rollout_ref.actor.policy_loss.aggregate=powr", "policy_loss.aggregate"),
        ("actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=7", "divides the 64 rows"),
        ("actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=512", "the 256 rows"),
        ("actor_rollout_ref.rollout.n=null", "actor_rollout_ref.rollout.n: None; give a number"),
        ("trainer.n_gpus_per_node=0", "trainer.n_gpus_per_node: 0; give a number of devices"),
        ("actor_rollout_ref.actor.ppo_epochs=0", "ppo_epochs: 0"),
        ("trainer.resume_mode=atuo", "trainer.resume_mode: 'atuo'; give one of auto, disable"),
        ("trainer.val_only=true", "trainer.val_only: true"),
        ("trainer.validation_data_dir=null", "trainer.validation_data_dir: null"),
        ("run_dir=null", "run_dir: null"),
        ("cpu.shortcuts='no'", "cpu.shortcuts: 'no'; give true or false"),
        ("cpu.shortcuts=null", "cpu.shortcuts: None; give true or false"),
        ("stop_after_skipped_rounds=0", "stop_after_skipped_rounds: 0; give a whole number"),
        ("stop_after_skipped_rounds=2.5", "stop_after_skipped_rounds: 2.5; give a whole number"),
        ("stop_after_skipped_rounds=true", "stop_after_skipped_rounds: True; give a whole number"),
        ("report.measure_import=0", "report.measure_import: 0; give true or false"),
        ("actor_rollout_ref.model.path=tests/no_model", "tests/no_model does not exist"),
        (
            "actor_rollout_ref.model.path=/no_model",
            "actor_rollout_ref.model.path: /no_model does not exist; give a folder or the name",
        ),
        ("actor_rollout_ref.model.path=null", "actor_rollout_ref.model.path: null; give a folder"),
        (
            "actor_rollout_ref.model.tokenizer_path=/no/tokenizer/here",
            "actor_rollout_ref.model.tokenizer_path: /no/tokenizer/here does not exist",
        ),
        ("trainer.logger=null", "trainer.logger: null; give a list of loggers, [] for metrics"),
        ("trainer.n_gpus_per_node=3", "must divide the 64 rows"),
        ("trainer.total_training_steps=null", "trainer.total_training_steps: None"),
        ("actor_rollout_ref.actor.strategy=fsdp", "only 'fsdp2' starts"),
        ("algorithm.rollout_correction.bypass_mode=true", "bypass_mode: true; set it to false"),
        ("algorithm.rollout_correction.rollout_is=token", "set it to 'sequence' or null"),
        (f"+{LOSS}.rollout_correction.bypass_mode=true", "bypass_mode: true; set it to false"),
        (
            "algorithm.filter_groups.enable=true trainer.v1.sampler.custom_sampler.path=mine.py",
            "verl then drops the filter",
        ),
        (f"{LOSS}.sequence_unit=episode", "sequence_unit: 'episode'; verl trains on rows of one"),
        (f"{LOSS}.clip_level=tokens", "clip_level: 'tokens'; give one of sequence, token"),
        (f"{LOSS}.clip_log_ratio=-1", "-1; give a distance in nats between 0 and 20"),
        (f"{LOSS}.dual_clip=1.01", "dual_clip: 1.01; give a ratio above the clip range's end 1.02"),
        (f"{LOSS}.clip_log_ratio=50", "50; give a distance in nats between 0 and 20"),
        (f"{LOSS}.clip_log_ratio=abc", "clip_log_ratio: 'abc'; give a number or null"),
        (f"{LOSS}.fused=maybe", "fused: 'maybe'; give true or false"),
        (f"{LOSS}.dual_clip=high", "dual_clip: 'high'; give a number or null"),
        (
            "p=sign_matched p@p.positive=ess "
            f"{LOSS}.aggregate=tests.recipe.checks.test_checks.data",
            "p: EssSetPoint reads ess_frac of the token weights, which are not known with ",
        ),
        (
            f"p=variance {LOSS}.aggregate=tests.recipe.checks.test_checks.data",
            "p: VarianceBudget reads second_moments of the token weights",
        ),
        (
            "p=reward algorithm.adv_estimator=grpo",
            "p: RewardProgress reads reward_mean",
        ),
        ("data.max_response_length=0", "data.max_response_length: 0; give a number of tokens"),
        (
            "data.max_response_length=47",
            "rollout.max_model_len: 64; responses would be cut short, give at least the 65 tokens",
        ),
        (
            f"{ACTOR}.use_dynamic_bsz=true {ACTOR}.ppo_max_token_len_per_gpu=35",
            "actor.ppo_max_token_len_per_gpu: 35; a micro-batch must take one row, give at least "
            "the 36 tokens",
        ),
        (
            f"{ACTOR}.use_dynamic_bsz=true "
            "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=17 "
            f"{ACTOR}.ulysses_sequence_parallel_size=2 trainer.n_gpus_per_node=2",
            "rollout.log_prob_max_token_len_per_gpu: 17; a micro-batch must take one row",
        ),
    ],
)
def test_single_mistakes(override, expected, data):
    assert any(expected in line for line in problems("demo", [*data, *override.split()]))


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "device=cuda",
            "trainer.n_gpus_per_node=8",
            "actor_rollout_ref.actor.ulysses_sequence_parallel_size=2",
            *FOUR_RANKS,
        ],
        [
            "actor_rollout_ref.actor.policy_loss.loss_mode=cispo",
            "actor_rollout_ref.actor.clip_ratio_low=10",
        ],
        [f"{LOSS}.clip_level=token", f"{LOSS}.clip_log_ratio=0.4", f"{LOSS}.dual_clip=3"],
        ["algorithm.rollout_correction.rollout_is=sequence"],
        ["actor_rollout_ref.model.path=gpt2"],
        ["actor_rollout_ref.model.path=Qwen/Qwen2.5-Math-7B"],
    ],
)
def test_valid_settings_are_not_refused(overrides, data):
    overrides = [*data, *overrides, "actor_rollout_ref.model.use_remove_padding=true"]
    assert check_config(composed("demo", overrides)).lines


@pytest.mark.parametrize(
    ("facts", "overrides", "expected"),
    [
        ({"max_position_embeddings": 63}, [], "max_model_len: 64 tokens, but"),
        (
            {"max_position_embeddings": 35},
            ["actor_rollout_ref.rollout.max_model_len=null"],
            "max_model_len: 36 tokens, but",
        ),
        ({"max_position_embeddings": 64}, [], None),
        ({}, ["actor_rollout_ref.model.use_fused_kernels=true"], "an output layer of its own"),
        (
            {"tie_word_embeddings": True},
            ["actor_rollout_ref.model.use_fused_kernels=true"],
            None,
        ),
    ],
)
@pytest.mark.parametrize("where", ["folder", "cache"])
def test_what_the_model_says_of_itself(where, facts, overrides, expected, data, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(facts))
    if where == "cache":
        commit = tmp_path / "models--owner--name" / "snapshots" / "c0ffee"
        commit.mkdir(parents=True)
        model.rename(commit.parent.parent / "moved")
        (commit / "config.json").write_text(json.dumps(facts))
        (tmp_path / "models--owner--name" / "refs").mkdir()
        (tmp_path / "models--owner--name" / "refs" / "main").write_text("c0ffee")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        name = "owner/name" if where == "cache" else str(model)
        overrides = [*data[:2], f"actor_rollout_ref.model.path={name}", *overrides]
        if expected is None:
            assert check_config(composed("demo", overrides)).lines
        else:
            assert any(expected in line for line in problems("demo", overrides))


def test_an_unset_value_is_named():
    assert any(line.startswith("trainer.experiment_name: null;") for line in problems("base", []))


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (["actor_rollout_ref.actor.ppo_mini_batch_size=32"], "p has no effect"),
        (["p.steps=500"], "the schedule of p does not finish"),
        (
            [f"{LOSS}.dual_clip=3", f"{LOSS}.clip_level=token_then_sequence"],
            "dual_clip has no effect",
        ),
        ([f"{LOSS}.dual_clip=3", f"{LOSS}.loss_mode=gspo"], "dual_clip has no effect"),
        ([f"{LOSS}.p=0.5"], "policy_loss.p has no effect: the driver hands out the order"),
        (["p.after=0"], "p.after has no effect"),
        (["p.after=0", "p.steps=24"], "p.after has no effect"),
        (["p.after=0", "p.steps=23"], None),
        (["p=ess", "p.set_point.value=-0.8"], "p.set_point is out of reach"),
        (["p=ess", "p.set_point.value=0.7"], None),
        (
            ["p=sign_matched", "p@p.positive=ess", "p.positive.set_point.value=0.75"],
            "p.positive.set_point is out of reach: it asks for a loss of ESS of 0.75",
        ),
        ([f"{ACTOR}.grad_clip=0.5"], "actor.grad_clip has no effect"),
        (["p=constant", "p.value=1"], None),
        (["stop_after_skipped_rounds=null"], None),
        ([f"{ACTOR}.grad_clip=0.5", f"{ACTOR}.optim.clip_grad=0.5"], None),
        ([], None),
    ],
)
def test_settings_without_effect_warn(overrides, warning, data):
    plan = check_config(composed("demo", [*data, *overrides]))
    if warning is None:
        assert plan.warnings == ()
    else:
        assert warning in plan.warnings[0]


def test_one_seed_sets_all_seeds():
    config = composed("demo", ["seed=17"])
    assert config.data.seed == 17
    assert config.actor_rollout_ref.rollout.seed == 17
    assert config.actor_rollout_ref.actor.data_loader_seed == 17
    assert "seed_17" in config.data.train_files


def test_two_seeds_see_different_data_orders_and_one_seed_the_same():
    from verl.trainer.ppo.utils import create_rl_sampler

    def order(seed):
        config = composed("demo", [f"seed={seed}"])
        return list(create_rl_sampler(config.data, list(range(50))))

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1))


def test_yaml_and_dataclasses_have_the_same_defaults():
    from verl.workers.config import PolicyLossConfig

    from holderpo.advantage import AdvantageSettings
    from recipe.holderpo.policy_loss import HolderLossConfig

    config = composed("base", ["trainer.experiment_name=x"])
    loss = OmegaConf.to_container(config.actor_rollout_ref.actor.policy_loss)
    own = {field.name for field in fields(HolderLossConfig)} - {
        field.name for field in fields(PolicyLossConfig)
    }
    for name in {"loss_mode", *own}:
        assert loss[name] == getattr(HolderLossConfig(), name)
    assert AdvantageSettings(**OmegaConf.to_container(config.advantage)) == AdvantageSettings(
        transforms=[]
    )
