"""verl's policy-loss signature around ``holderpo.objective``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from verl.workers.config import ActorConfig, PolicyLossConfig

from holderpo.advantage import EPISODE, TURN
from holderpo.control.order import Order, UniformOrder, order_numbers
from holderpo.dotted import load_callable
from holderpo.objective import (
    CLIP_LEVELS,
    SEQUENCE,
    TOTALS,
    ClipRange,
    Statistics,
    clipped_surrogate,
    first_of_each,
    log_space_clip,
    one_per_response,
    order_of_sign,
    sequence_advantage,
    token_bounds,
)
from holderpo.power_mean import TokenBounds, log_power_mean
from recipe.holderpo.sections import POWER_MEAN

AGGREGATES = {POWER_MEAN: log_power_mean}
# Under which the driver puts the round's order into the batch's non-tensor data.
ORDER_KEY = "holder_order"


@dataclass
class HolderLossConfig(PolicyLossConfig):
    """Settings of ``actor_rollout_ref.actor.policy_loss`` for the Hölder loss."""

    loss_mode: str = "holder"
    """verl's name of the policy loss."""
    p: float | None = 1.0
    """Constant order of verl's own `main_ppo`, which hands out none; this project's trainer sets
    it to null, so that no loss falls back on it."""
    aggregate: str = POWER_MEAN
    """How token ratios become one: `power_mean`, or the dotted name of a function
    `(log_ratio (B, T), mask (B, T), p) -> (B,) log ratio`."""
    clip_level: str = SEQUENCE
    """What is clipped: `sequence` (the paper's default), `token`, or `token_then_sequence`."""
    clip_log_ratio: float | None = None
    """GMPO's clip range, exp(-x) to exp(x), in place of `clip_ratio_low` and `_high`; GMPO: 0.4."""
    dual_clip: float | None = None
    """Ratio above which a negative advantage no longer pushes down; the paper has none."""
    fused: bool = True
    """On a GPU, compute the loss in one kernel forward and one backward (needs Triton)."""
    sequence_unit: str = TURN
    """What one power mean is taken over: the tokens of a `turn`, one response of the model."""

    def __post_init__(self) -> None:
        """Settings that stand alone are checked here, the clip range by the objective."""
        load_callable(self.aggregate, field="policy_loss.aggregate", known=AGGREGATES)
        if self.clip_level not in CLIP_LEVELS:
            raise ValueError(
                f"policy_loss.clip_level: {self.clip_level!r}; give one of {', '.join(CLIP_LEVELS)}"
            )
        for name in ("p", "clip_log_ratio", "dual_clip"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float)
            ):
                raise ValueError(f"policy_loss.{name}: {value!r}; give a number or null")
        if self.clip_log_ratio is not None:
            try:
                log_space_clip(self.clip_log_ratio)
            except ValueError as error:
                raise ValueError(f"policy_loss.clip_log_ratio: {error}") from error
        if self.sequence_unit == EPISODE:
            raise ValueError(
                f"policy_loss.sequence_unit: '{EPISODE}'; verl trains on rows of one turn, and a "
                "mean over an episode's tokens needs all its rows in one micro-batch; give "
                f"'{TURN}', and advantage.row_weight={EPISODE} to let every episode count the same"
            )
        if self.sequence_unit != TURN:
            raise ValueError(f"policy_loss.sequence_unit: {self.sequence_unit!r}; give {TURN}")
        if not isinstance(self.fused, bool):
            raise ValueError(f"policy_loss.fused: {self.fused!r}; give true or false")
        if (self.rollout_correction or {}).get("bypass_mode"):
            raise ValueError(
                "policy_loss.rollout_correction.bypass_mode: true; set it to false: the ratio "
                "would also hold the difference between rollout engine and trainer"
            )


def clip_range(config: ActorConfig) -> ClipRange:
    """Clip range of the actor's settings, as distances from 1."""
    log_ratio = loss_settings(config).clip_log_ratio
    if log_ratio is not None:
        return log_space_clip(log_ratio)
    low, high = config.clip_ratio_low, config.clip_ratio_high
    return ClipRange(
        clip_low=config.clip_ratio if low is None else low,
        clip_high=config.clip_ratio if high is None else high,
    )


def loss_settings(config: ActorConfig) -> HolderLossConfig:
    """The section ``policy_loss``, or our defaults where it is verl's own."""
    settings = config.policy_loss
    return settings if isinstance(settings, HolderLossConfig) else HolderLossConfig()


def _configured_order(settings: HolderLossConfig) -> UniformOrder:
    """The order where no batch brings one.

    Raises:
        ValueError: if the trainer has taken the constant away.
    """
    if settings.p is None:
        raise ValueError(
            "actor_rollout_ref.actor.policy_loss.p: null, and no order came with this call of the "
            "loss; this project's trainer calls it through HolderActorLoss only, verl's own "
            "main_ppo needs a number"
        )
    return UniformOrder(settings.p)


def bounds_of(config: ActorConfig, advantage: Tensor, clip_level: str) -> TokenBounds | None:
    """Bounds of the tokens' log-ratios at ``clip_level`` under the actor's settings.

    Args:
        config: verl's actor settings.
        advantage: (rows,) one number per response.
        clip_level: one of ``holderpo.objective.CLIP_LEVELS``.

    Returns:
        Bounds; None for ``sequence``.
    """
    return token_bounds(
        advantage,
        **clip_range(config)._asdict(),
        clip_level=clip_level,
        dual_clip=loss_settings(config).dual_clip,
    )


@dataclass
class LossCall:
    """One call of the loss: the order on the way in, what happened on the way out.

    verl's ``ppo_loss`` hands a registered loss neither the batch nor the order, and averages every
    metric it returns; the ratio hook passes both through here instead.
    """

    order: Order | None
    """The round's order, as it came with the batch; None, which the loss refuses: none came."""
    p: float | Tensor | None = None
    """Order of the responses, one number or (rows,); None for another loss."""
    rows: Statistics | None = None
    """Per-sequence statistics of the Hölder loss; None for another loss."""
    row_losses: Tensor | None = None
    """(rows,) loss of each response, without gradient; None for another loss."""
    log_ratio: Tensor | None = None
    """(rows, response_len) nats, without gradient; None for another loss."""
    mask: Tensor | None = None
    """(rows, response_len) bool; None for another loss."""
    uneven_weights: Tensor | None = None
    """(rows,) bool: importance weights that vary along the response; None where there are none."""
    refuse: Callable[[], None] | None = None
    """Raises the error of what is uneven; waits for the device."""

    def unread(self) -> Tensor:
        """What :meth:`own_metrics` wants to know, still on the device; a vector."""
        assert self.rows is not None
        totals = self.rows.totals
        if self.uneven_weights is None:
            return totals
        return torch.cat([totals, self.uneven_weights.sum().to(totals.dtype).unsqueeze(0)])

    def own_metrics(self, numbers: Sequence[float]) -> dict[str, float]:
        """The metrics of verl's own losses, under their names.

        Args:
            numbers: of :meth:`unread`, as they were read.

        Returns:
            Mean shares clipped, and the estimate of the KL, nats.

        Raises:
            ValueError: if advantages or weights vary along a response, which nobody could look at
                before the device was waited for.
        """
        totals = dict(zip(TOTALS, numbers[: len(TOTALS)], strict=True))
        if totals["num_uneven"] or any(numbers[len(TOTALS) :]):
            assert self.refuse is not None
            self.refuse()
            raise AssertionError("the check above names what varies")
        num_rows = max(totals["num_responses"], 1)
        return {
            "actor/pg_clipfrac": totals["clip_share"] / num_rows,
            "actor/ppo_kl": -totals["log_ratio"] / max(totals["num_tokens"], 1),
            "actor/pg_clipfrac_lower": totals["dual_share"] / num_rows,
        }


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
    """Clipped Hölder loss of one micro-batch, normalised over the global mini-batch.

    **Source**: Eq. 2 (or Eq. 11), averaged over the responses of the mini-batch (Algorithm 1,
    step 3).

    Args:
        old_log_prob: (rows, response_len) nats.
        log_prob: (rows, response_len) nats.
        advantages: (rows, response_len), one value along each response.
        response_mask: (rows, response_len) bool or 0/1.
        loss_agg_mode: must be ``seq-mean-token-mean``.
        config: verl's actor settings; clip range, ``policy_loss`` and ``global_batch_info``.
        rollout_is_weights: (rows, response_len), one value along each response (verl's
            ``rollout_is: sequence``); None for 1.

    Returns:
        The loss (scalar) and the metrics of verl's own losses, which the hook reads itself.

    Raises:
        ValueError: for a setting under which this would not be the method, with the fix.
    """
    assert config is not None, "verl always passes its actor settings"
    if loss_agg_mode != "seq-mean-token-mean":
        raise ValueError(
            f"actor_rollout_ref.actor.loss_agg_mode: {loss_agg_mode!r}; "
            "the Hölder loss needs 'seq-mean-token-mean'"
        )
    settings = loss_settings(config)
    hooked_call = _current_call.get()
    call = hooked_call or LossCall(order=_configured_order(settings))
    mask = response_mask.bool()
    clip = clip_range(config)._asdict()
    p = _order_of_call(call, log_prob, old_log_prob, advantages, mask, clip)
    own_aggregate = settings.aggregate != POWER_MEAN
    weights = None
    if rollout_is_weights is not None:
        weights, call.uneven_weights = first_of_each(rollout_is_weights, mask)
    loss_per_sequence, call.rows = clipped_surrogate(
        log_prob,
        old_log_prob,
        advantages,
        mask,
        p=p,
        **clip,
        clip_level=settings.clip_level,
        dual_clip=settings.dual_clip,
        sequence_weights=weights,
        aggregate=load_callable(settings.aggregate, field="policy_loss.aggregate")
        if own_aggregate
        else None,
        fused=settings.fused,
        check_advantages=False,
    )
    call.p = order_of_sign(call.rows.advantage, *p) if isinstance(p, tuple) else p
    call.row_losses = loss_per_sequence.detach()
    num_sequences, dp_size = _global_batch(config, mask)
    loss = loss_per_sequence.sum() * (dp_size / num_sequences)

    call.refuse = functools.partial(_refuse_uneven, advantages, rollout_is_weights, mask)
    if hooked_call is None:
        return loss, call.own_metrics(call.unread().tolist())
    with torch.no_grad():
        call.log_ratio, call.mask = log_prob - old_log_prob, mask
    return loss, {}


def _order_of_call(
    call: LossCall,
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip: dict[str, float],
) -> float | tuple[float, float] | Tensor:
    """The order of each response, in numbers where it looks at none of them."""
    if call.order is None or not hasattr(call.order, "for_rows"):
        raise ValueError(
            f"{ORDER_KEY}: {call.order!r}; the batch has lost the round's order between driver and "
            "actor, so p is not known: hand its non-tensor data on unchanged"
        )
    numbers = order_numbers(call.order)
    if numbers is not None:
        return numbers
    log_ratio = (log_prob - old_log_prob).detach()
    return call.order.for_rows(log_ratio, mask, first_of_each(advantages, mask)[0], **clip)


def _refuse_uneven(advantages: Tensor, rollout_is_weights: Tensor | None, mask: Tensor) -> None:
    """Raise the error of whichever varies along a response."""
    sequence_advantage(advantages, mask)
    if rollout_is_weights is not None:
        one_per_response(
            rollout_is_weights,
            mask,
            field="algorithm.rollout_correction.rollout_is",
            fix="set it to 'sequence' or null: the Hölder loss has one ratio per response",
        )


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
