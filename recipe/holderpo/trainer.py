"""Our part of the training loop, mixed into verl's V1 trainers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass

from holderpo.alfworld.held_out_games import success_metrics
from holderpo.benchmarks.whole_sets import metric_names
from holderpo.control import Controller
from holderpo.studies import held_out
from recipe.holderpo.actor_hook import (
    SECOND_MOMENT_ORDERS_KEY,
    HolderActorLoss,
    finish_metrics,
    take_statistics,
)
from recipe.holderpo.advantage import AdvantageCall, advantage_call
from recipe.holderpo.alfworld.episode_metrics import episode_metrics
from recipe.holderpo.checks.asynchronous import (
    COLOCATE_ASYNC,
    SYNC,
    is_asynchronous,
    prompts_ahead,
)
from recipe.holderpo.checks.checkpoints import (
    needed_files,
    num_kept,
    remove_older,
    remove_under_way,
    write_tracker,
)
from recipe.holderpo.checks.controller_state import write_controller_state
from recipe.holderpo.checks.resume import Start
from recipe.holderpo.mini_batches import REAL_ROWS, real_rows, spread_padding
from recipe.holderpo.policy_loss import ORDER_KEY
from recipe.holderpo.reward_extras import reward_extras, reward_shares, truncated_rows
from recipe.holderpo.rollout_age import age_metrics
from recipe.holderpo.round_sampler import RoundSampler
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.recorder import MetricsFile, OnStep, RunLogger
from recipe.holderpo.sections import HOLDER, advantage_settings, take_stand_ins_away
from recipe.holderpo.skipped_updates import SkippedUpdates
from recipe.holderpo.turn_rows import is_padding, turn_rows
from recipe.holderpo.under_way import drop_used_rows
from recipe.holderpo.used_order import take_orders

if TYPE_CHECKING:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer as _Trainer

    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup
else:
    _Trainer = object


class HolderTrainerMixin(_Trainer):
    """p control, the two hooks, and the controller's state in the checkpoint.

    ``step`` is the number of completed rollout rounds, 0 in the first one; verl's ``global_steps``
    is one more.
    """

    _has_updated = False
    _reward_mean: float | None = None
    checkpoint_callback: CheckpointCallback
    # Of a checkpoint that does not count until its step's row of metrics is written.
    _saved_step: int | None = None
    # Set by the launcher before training; verl itself makes the logger inside fit().
    controller: Controller
    start: Start
    metrics_file: MetricsFile
    on_step: OnStep
    on_first_update: Callable[[], None]
    progress: Progress
    log_path: Path
    # Of a run with an agent.
    environments: EnvironmentGroup | None = None
    _sampler: RoundSampler

    @property
    def logger(self) -> RunLogger:
        """Verl's logger, with every step also going to metrics.jsonl and to the console."""
        return self._run_logger

    @logger.setter
    def logger(self, tracking: Any) -> None:
        self._run_logger = RunLogger(
            tracking, self.metrics_file, self.on_step, self._finish_checkpoint
        )

    def init(self) -> None:
        """Start the workers, none of which can do without the orders of this trainer."""
        take_stand_ins_away(self.config)
        super().init()

    def on_train_begin(self) -> None:
        """Give the actors the ratio hook, and look at every update that they make."""
        super().on_train_begin()
        actor_config = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        workers = self.actor_rollout_wg
        workers.set_loss_fn(HolderActorLoss(actor_config))
        self._skipped_updates = SkippedUpdates(self.config.stop_after_skipped_rounds)
        workers.update_actor = self._skipped_updates.watched(workers.update_actor)

    def _build_replay_buffer(self) -> ReplayBuffer:
        buffer = super()._build_replay_buffer()
        self._sampler = RoundSampler(self, buffer)
        return buffer

    def on_step_begin(self) -> None:
        """Note the step."""
        self.progress.step = self.global_steps
        super().on_step_begin()

    def on_step_end(self) -> None:
        """Hand the weights to vLLM, as verl does."""
        self.progress.now("the transfer of the weights to vLLM")
        super().on_step_end()

    def prepare_step(self) -> dict[str, Any]:
        """Hand the round's prompts out, as verl; of games, the next round's are translated then."""
        metrics: dict[str, Any] = super().prepare_step()
        if self.environments is not None:
            size = self.config.data.train_batch_size
            first = self.global_steps * size + prompts_ahead(self.config)
            for number in range(first, first + size):
                row = self.train_dataset[number]
                self.environments.prepare_soon(Path(row["game_file"]), row["index"])
        return metrics

    def _balance_batch(
        self, batch: KVBatchMeta, metrics: dict[str, Any], *args: Any, **kwargs: Any
    ) -> KVBatchMeta:
        """As verl, with what fills the round up spread over its updates."""
        batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        batch.reorder(spread_padding(is_padding(batch.tags), *self._ranks_and_updates(batch)))
        return batch

    def _ranks_and_updates(self, batch: KVBatchMeta) -> tuple[int, int]:
        """Devices that share the rows of a round, and its mini-batches."""
        num_ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
        settings = self.config.actor_rollout_ref
        rows_per_update = settings.actor.ppo_mini_batch_size * settings.rollout.n
        return num_ranks, max(len(batch) // rows_per_update, 1)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        self.progress.now("the actor's log-probabilities")
        return super()._compute_old_log_prob(batch, metrics)

    def _compute_ref_log_prob(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        self.progress.now("the reference's log-probabilities")
        return super()._compute_ref_log_prob(batch, metrics)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        self.progress.now("TransferQueue (rewards and advantages)")
        extra_fields = _extra_fields(batch)
        turns = None
        if self.config.algorithm.adv_estimator == HOLDER:
            turns = turn_rows(batch.keys, extra_fields, is_padding(batch.tags))
        extras = reward_extras(extra_fields)
        call = AdvantageCall(
            settings=advantage_settings(self.config),
            max_response_tokens=self.config.data.max_response_length,
            truncated=truncated_rows(extras),
            turns=turns,
        )
        with advantage_call(call):
            batch = super()._compute_advantage(batch, metrics)
        metrics.update(call.metrics)
        if self.environments is not None:
            metrics.update(self._episode_metrics(self.environments, batch, extra_fields))
        metrics.update(reward_shares(extras, batch.tags))
        self._reward_mean = call.reward_mean
        return batch

    def _episode_metrics(
        self,
        environments: EnvironmentGroup,
        batch: KVBatchMeta,
        extra_fields: list[dict[str, Any]],
    ) -> dict[str, float]:
        """Of the round's episodes, and of what the environment workers did since the last one."""
        num_started = self._sampler.num_prompts * self.config.actor_rollout_ref.rollout.n
        padding = is_padding(batch.tags)
        of_episodes = episode_metrics(batch.keys, extra_fields, padding, num_started=num_started)
        return asyncio.run(environments.metrics()) | of_episodes

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        self.progress.now("the update of the actor")
        step = self.global_steps - 1
        order, handed = self.controller.order(step), self.controller.value(step)
        batch.extra_info[ORDER_KEY] = order
        orders = self.controller.second_moment_orders
        batch.extra_info[SECOND_MOMENT_ORDERS_KEY] = orders
        self._count_real_rows(batch)
        is_holder = self.config.actor_rollout_ref.actor.policy_loss.loss_mode == HOLDER
        if self.config.actor_rollout_ref.rollout.calculate_log_probs:
            metrics.update(age_metrics(batch, self.config, step, order if is_holder else None))
        batch = super()._update_actor(batch, metrics)
        if not self._has_updated:
            self._has_updated = True
            self.on_first_update()
        finished = finish_metrics(metrics)
        if is_holder:
            metrics.update(take_orders(finished, order, handed))
        statistics = take_statistics(finished, self._reward_mean, orders)
        metrics.update(finished)
        metrics.update(self._skipped_updates.finish_round(self.global_steps))
        # Before the checkpoint of this step is written: it holds what the next round starts from.
        self.controller.update(step, statistics)
        return batch

    def _count_real_rows(self, batch: KVBatchMeta) -> None:
        """Tell the actors by how many rows to divide, where the round was filled up."""
        padding = is_padding(batch.tags)
        if not any(padding):
            return
        counts = real_rows(
            padding,
            *self._ranks_and_updates(batch),
            shuffled=bool(self.config.actor_rollout_ref.actor.shuffle),
        )
        tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({REAL_ROWS: counts}, batch_size=len(batch)),
        )

    def _val_metrics_update(
        self,
        data_sources: Sequence[Any],
        sample_uids: Sequence[str],
        *args: Any,
        expected_acc_counts: Mapping[tuple[str, str], int],
        **kwargs: Any,
    ) -> dict[str, float]:
        """Success in all games of a set; a part of a benchmark does not get its name."""
        names = metric_names(list(expected_acc_counts))
        expected = {(names[name], uid): count for (name, uid), count in expected_acc_counts.items()}
        metrics: dict[str, float] = super()._val_metrics_update(
            [names[str(source)] for source in data_sources],
            sample_uids,
            *args,
            expected_acc_counts=expected,
            **kwargs,
        )
        return metrics | success_metrics(held_out.accuracies(metrics), expected)

    def _load_checkpoint(self) -> None:
        self.progress.now("the checkpoint", is_limited=False)
        folder = self.start.checkpoint
        # verl is told which one, so that it finds no other.
        known = {"resume_mode": "disable"}
        if folder is not None:
            known = {"resume_mode": "resume_path", "resume_from_path": str(folder)}
        with _settings(self.config.trainer, known):
            super()._load_checkpoint()
        self.progress.now("actor and vLLM")
        if folder is None:
            return
        if is_asynchronous(self.config):
            drop_used_rows()
        if self.start.is_own:
            # Its accuracy at this step is in the metrics already.
            self.config.trainer.val_before_train = False
            # A run that was cut off may not have come to it.
            self._remove_older(folder.parent, self.start.step)
        if self.start.controller_state is not None:
            self.controller.load_state_dict(self.start.controller_state)

    def _save_checkpoint(self) -> None:
        """Write everything of a checkpoint; it counts from :meth:`_finish_checkpoint` on.

        verl by itself would let it count before the step's metrics are written, and remove the
        actor of an older one before this one is whole.
        """
        self.progress.now("the checkpoint", is_limited=False)
        folder = self._checkpoint_folder(self.global_steps)
        # A run that was cut off may have left those of an earlier try here.
        remove_under_way(folder)
        write_controller_state(folder, self.global_steps, self.controller.state_dict())
        all_kept = {"max_actor_ckpt_to_keep": None, "remove_previous_ckpt_in_save": False}
        # With this verl leaves its tracker file alone, and nothing else is different with FSDP.
        not_yet = {"async_save": True}
        callback, self.checkpoint_callback = self.checkpoint_callback, CheckpointCallback()
        try:
            with (
                _settings(self.config.trainer, all_kept),
                _settings(self.config.actor_rollout_ref.actor.checkpoint, not_yet),
            ):
                super()._save_checkpoint()
        finally:
            self.checkpoint_callback = callback
        self._saved_step = self.global_steps

    def _finish_checkpoint(self, step: int) -> None:
        """Let the checkpoint of ``step`` count, if there is one, then remove older ones."""
        if step != self._saved_step:
            return
        folder = self._checkpoint_folder(step)
        write_tracker(folder.parent, step)
        self.checkpoint_callback.on_save(
            trainer=self, global_step=step, checkpoint_dir=str(folder), async_save=False
        )
        self._remove_older(folder.parent, step)

    def _remove_older(self, checkpoints: Path, step: int) -> None:
        remove_older(checkpoints, step, num_kept(self.config), needed_files(self.config))

    def _checkpoint_folder(self, step: int) -> Path:
        return Path(self.config.trainer.default_local_dir) / f"global_step_{step}"


class HolderTrainerSync(HolderTrainerMixin, PPOTrainerSync):
    """HölderPO on verl's synchronous trainer."""


class HolderTrainerColocateAsync(HolderTrainerMixin, PPOTrainerColocateAsync):
    """HölderPO on verl's trainer that lets rollouts go on over an update, on the same devices.

    p is that of the update's step, whatever the age of a response: old log-probabilities are the
    actor's own, computed at the start of the step, so that every ratio of a step's first update
    is 1.
    """


TRAINERS: Mapping[str, type[HolderTrainerMixin]] = {
    SYNC: HolderTrainerSync,
    COLOCATE_ASYNC: HolderTrainerColocateAsync,
}


@contextmanager
def _settings(section: DictConfig, values: dict[str, Any]) -> Iterator[None]:
    """Other values for a while; settings that the section does not have stay away."""
    before = {name: section[name] for name in values if name in section}
    try:
        for name in before:
            section[name] = values[name]
        yield
    finally:
        for name, value in before.items():
            section[name] = value


def _extra_fields(batch: KVBatchMeta) -> list[dict[str, Any]]:
    """What rollout and reward function said of each row beside its tensors."""
    data = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
    )
    return [getattr(fields, "data", fields) for fields in data["extra_fields"]]
