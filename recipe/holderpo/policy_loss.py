"""verl's policy-loss signature around ``holderpo.objective``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from verl.workers.config import ActorConfig, PolicyLossConfig

from holderpo.diagnostics import RowDiagnostics, describe_rows
from holderpo.dotted import load_callable
from holderpo.objective import Statistics, clipped_surrogate
from holderpo.power_mean import log_power_mean

POWER_MEAN = "power_mean"
AGGREGATES = {POWER_MEAN: log_power_mean}


@dataclass
class HolderLossConfig(PolicyLossConfig):
    """Settings of ``actor_rollout_ref.actor.policy_loss`` for the Hölder loss."""

    loss_mode: str = "holder"
    """verl's name of the policy loss."""
    p: float = 1.0
    """Constant order, used where no driver hands out p (verl's own `main_ppo`)."""
    aggregate: str = POWER_MEAN
    """How token ratios become one: `power_mean`, or the dotted name of a function
    `(log_ratio (B, T), mask (B, T), p) -> (B,) log ratio`."""

    def __post_init__(self) -> None:
        """The aggregation must be known or loadable."""
        load_callable(self.aggregate, field="policy_loss.aggregate", known=AGGREGATES)


@dataclass
class LossCall:
    """One call of the loss: p on the way in, what happened on the way out.

    verl's ``ppo_loss`` hands a registered loss neither the batch nor p, and averages every metric
    it returns; the ratio hook passes both through here instead.
    """

    p: float | Tensor | None = None
    """Order from the driver; None: use the configured constant."""
    rows: Statistics | None = None
    """Per-sequence statistics of the Hölder loss."""
    diagnostics: RowDiagnostics | None = None
    """Per-sequence description of the ratios and weights; None for a user's own aggregation, whose
    weights are not known."""


_current_call: ContextVar[LossCall | None] = ContextVar("holder_loss_call", default=None)


@contextmanager
def loss_call(call: LossCall) -> Iterator[LossCall]:
    """Make ``call`` the one that :func:`compute_policy_loss_holder` reads and fills."""
    token = _current_call.set(call)
    try:
        yield call
    finally:
        _current_call.reset(token)


def compute_policy_loss_holder(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "seq-mean-token-mean",
    config: ActorConfig | None = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Sequence-clipped Hölder loss of one micro-batch, normalised over the global mini-batch.

    **Source**: Eq. 2, averaged over the responses of the mini-batch (Algorithm 1, step 3).

    Args:
        old_log_prob: (rows, response_len) nats.
        log_prob: (rows, response_len) nats.
        advantages: (rows, response_len), one value along each response.
        response_mask: (rows, response_len) bool or 0/1.
        loss_agg_mode: must be ``seq-mean-token-mean``.
        config: verl's actor settings; clip range, ``policy_loss`` and ``global_batch_info``.
        rollout_is_weights: must be None.

    Returns:
        The loss (scalar) and verl's own metrics.

    Raises:
        ValueError: for a setting under which this would not be the method, with the fix.
    """
    assert config is not None, "verl always passes its actor settings"
    if loss_agg_mode != "seq-mean-token-mean":
        raise ValueError(
            f"actor_rollout_ref.actor.loss_agg_mode: {loss_agg_mode!r}; "
            "the Hölder loss needs 'seq-mean-token-mean'"
        )
    if rollout_is_weights is not None:
        raise ValueError(
            "algorithm.rollout_correction.rollout_is: token weights do not fit a sequence ratio; "
            "set it to null with the Hölder loss"
        )
    settings = config.policy_loss
    if not isinstance(settings, HolderLossConfig):
        settings = HolderLossConfig()
    call = _current_call.get() or LossCall()
    p = settings.p if call.p is None else call.p

    mask = response_mask.bool()
    loss_per_sequence, call.rows = clipped_surrogate(
        log_prob,
        old_log_prob,
        advantages,
        mask,
        p=p,
        clip_low=config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low,
        clip_high=config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high,
        aggregate=load_callable(
            settings.aggregate, field="policy_loss.aggregate", known=AGGREGATES
        ),
    )
    num_sequences, dp_size = _global_batch(config, mask)
    loss = loss_per_sequence.sum() / num_sequences * dp_size

    with torch.no_grad():
        log_ratio = torch.where(mask, log_prob - old_log_prob, 0)
        if settings.aggregate == POWER_MEAN:
            call.diagnostics = describe_rows(log_ratio, mask, p)
        num_rows = mask.any(-1).sum().clamp(min=1)
        clipped = (call.rows.clipped_high | call.rows.clipped_low).sum() / num_rows
        metrics = {
            "actor/pg_clipfrac": clipped.item(),
            "actor/ppo_kl": (-log_ratio.sum() / mask.sum().clamp(min=1)).item(),
            "actor/pg_clipfrac_lower": 0.0,
        }
    return loss, metrics


def _global_batch(config: ActorConfig, mask: Tensor) -> tuple[Any, int]:
    """Sequences in the global mini-batch and data-parallel size, as verl hands them over."""
    info = config.global_batch_info
    dp_size = info.get("dp_size") or 1
    num_sequences = info.get("global_batch_size")
    if num_sequences is None:
        if dp_size > 1:
            raise ValueError("global_batch_size is needed when the data-parallel size is above 1")
        num_sequences = mask.any(-1).sum().clamp(min=1)
    return num_sequences, dp_size
