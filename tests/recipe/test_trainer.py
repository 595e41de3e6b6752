"""What this project's trainer does before verl starts the workers."""

import pytest

from recipe.holderpo.trainer import HolderTrainerMixin
from tests.recipe.composing import composed

LOSS = "actor_rollout_ref.actor.policy_loss"


class Base:
    """Stands in for verl's trainer: notes the configuration that the workers would get."""

    def __init__(self, config):
        self.config = config

    def init(self):
        self.seen = self.config.copy()


class Trainer(HolderTrainerMixin, Base):
    """As HolderTrainerSync is made."""


def seen_by_the_workers(*overrides):
    trainer = Trainer(composed("demo", list(overrides)))
    trainer.init()
    loss, algorithm = trainer.seen.actor_rollout_ref.actor.policy_loss, trainer.seen.algorithm
    return loss.get("p"), algorithm.norm_adv_by_std_in_grpo


def test_the_workers_get_no_constant_that_could_stand_in_for_the_trainer():
    assert seen_by_the_workers(f"{LOSS}.p=0.5") == (None, None)


@pytest.mark.parametrize("by_std", [True, False])
def test_other_estimators_keep_verls_setting(by_std):
    overrides = ["algorithm.adv_estimator=grpo", f"advantage.normalize_by_std={by_std}"]
    assert seen_by_the_workers(*overrides) == (None, by_std)


def test_a_loss_of_verl_has_no_order_to_take_away():
    of_verl = "verl.workers.config.PolicyLossConfig"
    overrides = [f"{LOSS}._target_={of_verl}", f"{LOSS}.loss_mode=gspo", f"~{LOSS}.p"]
    assert seen_by_the_workers(*overrides) == (None, None)
