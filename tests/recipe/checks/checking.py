"""Checking a configuration in a test: what is refused, and what it is warned of."""

import pytest

from recipe.holderpo.checks.from_machine import fill_in
from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.checks.this_machine import Machine
from tests.recipe.composing import composed

ACTOR = "actor_rollout_ref.actor"
LOSS = f"{ACTOR}.policy_loss"
ENGINE = f"{ACTOR}.fsdp_config"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"
CORRECTION = "algorithm.rollout_correction"
# The demo on four GPUs.
FOUR_GPUS = (
    f"device=cuda trainer.n_gpus_per_node=4 {ACTOR}.ppo_micro_batch_size_per_gpu=16 "
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=64"
)


def on_cluster(name, overrides=()):
    """A configuration with verl's own numbers where it leaves them to the machine."""
    config = composed(name, overrides)
    fill_in(config, Machine(num_cpus=1, num_gpus=0), on_cluster=True)
    return config


def refusals(data, overrides, name="demo"):
    """The lines with which a configuration is refused, of overrides in one text."""
    with pytest.raises(ConfigError) as caught:
        check_config(composed(name, [*data, *overrides.split()]))
    return caught.value.problems


def warnings_of(data, overrides, name="demo"):
    """What the plan of a configuration warns of."""
    return list(check_config(composed(name, [*data, *overrides.split()])).warnings)
