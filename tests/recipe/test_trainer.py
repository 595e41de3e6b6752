"""What this project's trainer does before verl starts the workers."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from recipe.holderpo import trainer as trainer_module
from recipe.holderpo.checks.settings import make_controller
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.rollout_failures import RolloutError
from recipe.holderpo.trainer import HolderTrainerMixin
from tests.recipe.composing import composed

LOSS = "actor_rollout_ref.actor.policy_loss"


class Base:
    """Stands in for verl's trainer: notes the configuration that the workers would get."""

    def __init__(self, config):
        self.config = config

    def init(self):
        self.seen = self.config.copy()

    def _build_replay_buffer(self):
        return self.buffer

    def prepare_step(self):
        return {"asked": 1}


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


# As verl says it of a round without a row; its validation goes on.
NO_ROW = RuntimeError("Sync replay buffer selected groups with no materializable trajectories.")


def sampled(tmp_path, result, *, partition, environments, failed=()):
    """What the replay buffer gives the trainer where verl's gives ``result``, or raises it."""

    def sample(**request):
        with trainer.log_path.open("a") as log:
            log.write(line.format("died"))
        if isinstance(result, Exception):
            raise result
        return SimpleNamespace(keys=result), {}

    trainer = Trainer(composed("demo", ["max_failed_prompts=1.0"]))
    trainer.environments, trainer.progress = environments, Progress()
    trainer.log_path, trainer.global_steps = tmp_path / "run.log", 7
    line = "prompt a, episode 0, game g: failed after 1 turns: it {}\n"
    trainer.log_path.write_text(line.format("was long ago"))
    trainer.buffer = SimpleNamespace(
        sample=sample,
        poll_interval=2.0,
        failure_keys=defaultdict(set, {partition: set(failed)}),
        _evict_terminal_groups=None,
    )
    buffer = trainer._build_replay_buffer()
    return buffer.sample(global_steps=7, partition_id=partition, batch_size=2)


@pytest.mark.parametrize(
    ("partition", "result", "named"),
    [("train", NO_ROW, "step 7"), ("val", [], "the validation after step 7")],
)
def test_a_round_all_of_whose_episodes_failed_says_so(tmp_path, partition, result, named):
    with pytest.raises(RolloutError, match=f"every episode of {named} failed .*turns: it died$"):
        sampled(tmp_path, result, partition=partition, environments=object())


@pytest.mark.parametrize("environments", [None, object()])
def test_another_error_of_verls_stays_what_it_is(tmp_path, environments):
    with pytest.raises(RuntimeError, match="another"):
        sampled(tmp_path, RuntimeError("another"), partition="train", environments=environments)


def test_without_an_agent_verls_error_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="no materializable"):
        sampled(tmp_path, NO_ROW, partition="train", environments=None)


def test_prompts_that_may_fail_are_named_where_none_is_left(tmp_path):
    with pytest.raises(
        RolloutError, match=r"^nothing is left of step 7: 2 prompts failed; the fir"
    ):
        sampled(tmp_path, NO_ROW, partition="train", environments=object(), failed={"one", "other"})


@pytest.mark.parametrize(("mode", "first"), [("sync", 24), ("colocate_async", 36)])
def test_the_games_of_the_next_round_are_translated_while_this_one_is_played(mode, first):
    overrides = [f"trainer.v1.trainer_mode={mode}", "data.train_batch_size=8"]
    ahead = "trainer.v1.colocate_async.num_warmup_batches=1.5"
    trainer = Trainer(composed("demo", [*overrides, ahead]))
    trainer.global_steps, told = 3, []
    trainer.train_dataset = [
        {"game_file": f"game {number}", "index": number} for number in range(99)
    ]
    trainer.environments = SimpleNamespace(
        prepare_soon=lambda game, key: told.append((str(game), key))
    )
    assert trainer.prepare_step() == {"asked": 1}
    assert told == [(f"game {number}", number) for number in range(first, first + 8)]


class SeenError(Exception):
    """Ends a step where it is looked at."""


@pytest.mark.parametrize(("loss", "has_order"), [("holder", True), ("vanilla", False)])
def test_ages_count_from_the_weights_that_a_step_begins_with(loss, has_order, monkeypatch):
    def look(batch, config, step, order):
        raise SeenError(step, order)

    monkeypatch.setattr(trainer_module, "age_metrics", look)
    log_probs = "actor_rollout_ref.rollout.calculate_log_probs=true"
    trainer = Trainer(composed("demo", [f"{LOSS}.loss_mode={loss}", log_probs]))
    trainer.controller = make_controller(composed("demo"))
    trainer.progress, trainer.global_steps = Progress(), 7
    batch = SimpleNamespace(keys=[], tags=[], extra_info={})
    # The first step begins with weights number 0.
    with pytest.raises(SeenError) as seen:
        trainer._update_actor(batch, {})
    assert seen.value.args == (6, trainer.controller.order(6) if has_order else None)
