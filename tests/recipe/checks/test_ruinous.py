"""Settings that would ruin a run without a word are refused."""

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks.ruinous import RUINOUS, ruinous_problems
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT, refusals
from tests.recipe.composing import composed


@pytest.mark.parametrize("row", RUINOUS, ids=lambda row: row.field)
def test_every_field_exists(row):
    OmegaConf.select(composed("base"), row.field, throw_on_missing=True)
    section, _, name = row.field.rpartition(".")
    config = composed("base")
    assert name in (OmegaConf.select(config, section) if section else config)


CASES = {
    f"{MODEL}.lora.rank=8": f"{MODEL}.lora.rank: 8; it is Megatron's",
    f"{MODEL}.lora_adapter_path=mine": f"{MODEL}.lora_adapter_path: 'mine'; a run does not go on",
    f"{FOUR_GPUS} {ACTOR}.strategy=megatron": f"{ACTOR}.strategy: 'megatron'; this recipe trains",
    f"{ACTOR}.fsdp_config.forward_only=true": f"{ACTOR}.fsdp_config.forward_only: true; nothing",
    f"{ACTOR}.checkpoint.async_save=true": f"{ACTOR}.checkpoint.async_save: true; verl's FSDP",
    f"{ACTOR}.optim.warmup_style=constant": f"{ACTOR}.optim.warmup_style: 'constant'; verl takes",
    f"{ACTOR}.optim.lr_scheduler_type=linear": f"{ACTOR}.optim.lr_scheduler_type: 'linear'; give",
    f"{ROLLOUT}.mode=sync": f"{ROLLOUT}.mode: 'sync'; verl 0.9.1 has no other, give 'async'",
    f"{ROLLOUT}.log_prob_use_dynamic_bsz=true": f"{ROLLOUT}.log_prob_use_dynamic_bsz: true; verl",
    f"{ROLLOUT}.n_gpus_per_node=2": f"{ROLLOUT}.n_gpus_per_node: 2; training and rollouts share",
    "trainer.critic_warmup=1": "trainer.critic_warmup: 1; there is no critic",
    "critic.enable=true": "critic.enable: true; no advantage here reads a critic",
}


def test_every_row_has_a_case():
    tried = {line.partition(":")[0] for line in CASES.values()}
    assert tried == {row.field for row in RUINOUS} - {"model_engine"}


def test_another_engine_than_fsdp_is_refused():
    """A group of verl's yaml files, so it is no value to override."""
    config = composed("demo")
    config.model_engine = "megatron"
    (line,) = ruinous_problems(config)
    assert line == "model_engine: 'megatron'; this recipe trains with FSDP, give 'dp'"


@pytest.mark.parametrize(("overrides", "expected"), CASES.items())
def test_what_ruins_a_run_is_refused(overrides, expected, existing):
    lines = refusals(existing, overrides)
    assert any(line.startswith(expected) for line in lines)


@pytest.mark.parametrize(
    "overrides", [f"{ACTOR}.optim.warmup_style=cosine", f"{FOUR_GPUS} {ACTOR}.strategy=fsdp"]
)
def test_what_does_not_is_not(overrides, existing):
    assert check_config(composed("demo", [*existing, *overrides.split()])).lines


@pytest.mark.parametrize(
    ("override", "new"),
    [
        ("custom_reward_function.path=mine.py", "reward.custom_reward_function.path"),
        ("reward_model.reward_manager=dapo", "reward.reward_manager.name"),
        ("reward_model.num_workers=4", "reward.num_workers"),
        ("reward_model.enable=true", "reward.reward_model.enable"),
        ("reward_model.model.path=judge", "reward.reward_model.model_path"),
        ("reward_model.rollout.dtype=half", "reward.reward_model.rollout.dtype"),
        ("sandbox_fusion.url=here", "reward.sandbox_fusion.url"),
    ],
)
def test_an_old_name_of_verl_is_refused_with_the_present_one(override, new, existing):
    (line,) = refusals(existing, override)
    assert line.startswith(override.partition("=")[0])
    assert line.endswith(f"; not read, set {new}")
    assert OmegaConf.select(composed("base"), new, default="absent") != "absent"
