"""Settings of another kind than verl reads are named before anything is computed from them."""

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks.from_machine import take_from_machine
from recipe.holderpo.checks.kinds import COUNTS, RANGES, kind_problems
from tests.recipe.checks.checking import ACTOR, ROLLOUT, refusals
from tests.recipe.composing import composed


@pytest.mark.parametrize("field", [*COUNTS, *RANGES])
@pytest.mark.parametrize("value", ["many", True, -2.5])
def test_every_listed_field_refuses_a_text_a_flag_and_a_negative_fraction(field, value):
    config = composed("demo")
    OmegaConf.update(config, field, value)
    named = [line for line in kind_problems(config) if line.startswith(f"{field}: {value!r}; give")]
    takes_any_number = field == f"{ACTOR}.entropy_coeff" and value == -2.5
    assert len(named) == (0 if takes_any_number else 1)


def test_what_every_experiment_has_is_of_the_right_kind():
    for name in ("demo", "gsm8k_smoke", "math_smoke", "math_qwen25_math_7b"):
        config = composed(name)
        take_from_machine(config, on_cluster=False)
        assert list(kind_problems(config)) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (f"{ACTOR}.use_kl_loss=yes", f"{ACTOR}.use_kl_loss: 'yes'; give true or false"),
        ("data.shuffle=off", "data.shuffle: 'off'; give true or false"),
        (
            f"{ACTOR}.fsdp_config.param_offload=no",
            f"{ACTOR}.fsdp_config.param_offload: 'no'; give true or false",
        ),
        (f"{ACTOR}.tau_pos=big", f"{ACTOR}.tau_pos: 'big'; give a number"),
        (
            f"{ACTOR}.optim.lr_warmup_steps=null",
            f"{ACTOR}.optim.lr_warmup_steps: None; give a whole number of rounds; -1 for none",
        ),
        (
            f"{ROLLOUT}.temperature=0",
            f"{ROLLOUT}.temperature: 0; give a number above 0: at 0 all responses of a group are "
            "the same",
        ),
        (f"{ROLLOUT}.agent.num_workers=0", f"{ROLLOUT}.agent.num_workers: 0; give a number of"),
        ("reward.num_workers=-1", "reward.num_workers: -1; give a whole number from 0 on"),
        ("data.train_max_samples=null", "data.train_max_samples: None; give a whole number of"),
        ("trainer.test_freq=often", "trainer.test_freq: 'often'; give a whole number"),
        ("no_progress_seconds=null", "no_progress_seconds: None; give a number above 0"),
        ("max_failed_prompts=2", "max_failed_prompts: 2; give a share of the prompts in [0, 1]"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(overrides, expected, existing):
    (line,) = refusals(existing, overrides)
    assert line.startswith(expected)


def test_a_threshold_may_be_a_number_or_a_text():
    override = "algorithm.rollout_correction.rollout_is_threshold='0.5_2'"
    assert list(kind_problems(composed("demo", [override]))) == []
