"""The rows of a round, from verl's replay buffer, and the prompts that have failed in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from holderpo.metrics import FAILED_PROMPTS
from recipe.holderpo.run.rollout_failures import RolloutError, check_failures, no_episodes

if TYPE_CHECKING:
    from recipe.holderpo.trainer import HolderTrainerMixin

# In verl's error for a round without a row.
_NOTHING_LEFT = "no materializable trajectories"


class RoundSampler:
    """Takes the place of the buffer's ``sample``: says what is waited for, and counts failures.

    The synchronous buffer hands a round out with its failures. The asynchronous one, and with
    ``sync_refill_failed_groups`` the synchronous one too, drops them at once and asks for other
    prompts, without end, so there they are counted as they are dropped.
    """

    def __init__(self, trainer: HolderTrainerMixin, buffer: ReplayBuffer) -> None:
        """Take over the buffer's sampling.

        Args:
            trainer: whose rounds they are; it gets progress, log and environments later.
            buffer: of verl; changed.
        """
        assert hasattr(buffer, "poll_interval"), "verl's replay buffer has changed"
        # verl polls every 2 s, which would be most of a small model's step.
        buffer.poll_interval = trainer.config.rollout_poll_seconds
        self.num_prompts = 0
        """Of the present round, those that failed included."""
        self._trainer = trainer
        self._buffer = buffer
        self._sample: Callable[..., tuple[KVBatchMeta, dict[str, Any]]] = buffer.sample
        self._num_dropped = 0
        buffer.sample = self
        self._evict = buffer._evict_terminal_groups
        buffer._evict_terminal_groups = self._count_and_evict

    def __call__(self, **request: Any) -> tuple[KVBatchMeta, dict[str, Any]]:
        """Wait for a round of training or validation.

        Args:
            **request: as verl's.

        Returns:
            As verl's.

        Raises:
            RolloutError: if more prompts have failed than may, or nothing is left of the round.
        """
        trainer, buffer = self._trainer, self._buffer
        partition, num_prompts = request["partition_id"], request["batch_size"]
        is_validation = partition == "val"
        trainer.progress.now("the answers of the validation" if is_validation else "rollouts")
        trainer.progress.count = lambda: _num_ended(buffer, partition)
        plays = trainer.environments is not None
        log_bytes = trainer.log_path.stat().st_size if plays else 0
        self._num_dropped, self.num_prompts = 0, num_prompts
        try:
            batch, metrics = self._sample(**request)
        except Exception as error:
            # Of verl's own error, where no prompt is left, the failures are the cause.
            self._check(partition)
            if plays and _NOTHING_LEFT in str(error):
                raise self._no_episodes(partition, log_bytes) from error
            raise
        trainer.progress.count = int
        num_failed = self._check(partition)
        if plays and not batch.keys:
            raise self._no_episodes(partition, log_bytes)
        return batch, metrics if is_validation else metrics | {FAILED_PROMPTS: num_failed}

    def _count_and_evict(self, global_steps: int, partition_id: str, reasons: Any) -> Any:
        evicted = self._evict(global_steps, partition_id, reasons)
        if failed := reasons[2]:
            self._num_dropped += len(failed)
            self._check(partition_id)
        return evicted

    def _num_failed(self, partition: str) -> int:
        return self._num_dropped + len(self._buffer.failure_keys[partition])

    def _check(self, partition: str) -> int:
        """Number of prompts of a round that have failed, if so many may."""
        num_failed = self._num_failed(partition)
        check_failures(
            num_failed,
            self.num_prompts,
            max_share=self._trainer.config.max_failed_prompts,
            what=self._round_name(partition),
            log=self._trainer.log_path,
        )
        return num_failed

    def _no_episodes(self, partition: str, begin: int) -> RolloutError:
        """That nothing is left of a round."""
        return no_episodes(
            self._round_name(partition),
            self._trainer.log_path,
            begin=begin,
            num_failed=self._num_failed(partition),
        )

    def _round_name(self, partition: str) -> str:
        return f"{'the validation after ' * (partition == 'val')}step {self._trainer.global_steps}"


def _num_ended(buffer: ReplayBuffer, partition: str) -> int:
    """Prompts whose rollouts have ended, well or not."""
    return len(buffer.finished_keys[partition]) + len(buffer.failure_keys[partition])
