"""The clipped HölderPO surrogates: one clip per response, one per token, or both.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.fused_surrogate import RatioBounds, can_fuse, fused_surrogate
from holderpo.power_mean import (
    LogPowerMean,
    TokenBounds,
    as_mask,
    check_old_log_prob,
    check_orders,
    compute_dtype,
    hold,
    log_power_mean_of_ratio,
)

# exp(20) is the largest ratio used. float32 holds up to exp(88.7), but the gradient carries the
# ratio and its norm squares it, so ratios from about exp(44) on would cost the whole update. Rows
# that reach the bound are counted in `Statistics.saturated`.
MAX_LOG_RHO = 20.0

SEQUENCE = "sequence"
TOKEN = "token"
TOKEN_THEN_SEQUENCE = "token_then_sequence"
CLIP_LEVELS = (SEQUENCE, TOKEN, TOKEN_THEN_SEQUENCE)

# Sums from which the mean clip fractions and the mean log-ratio of many batches are made.
TOTALS = ("clip_share", "dual_share", "log_ratio", "num_tokens", "num_responses", "num_uneven")

Aggregate = Callable[[Tensor, Tensor, "float | Tensor"], Tensor]


class ClipRange(NamedTuple):
    """Allowed range of a ratio, as distances from 1: ``[1 - clip_low, 1 + clip_high]``."""

    clip_low: float
    """In (0, 1)."""
    clip_high: float
    """Above 0."""


class Statistics(NamedTuple):
    """What happened to each sequence, without gradient; (B,) but for the totals."""

    log_rho: Tensor
    """Log of the aggregated ratio, nats; with token clipping, of the clipped ratios."""
    mean_log_ratio: Tensor
    """Mean of the tokens' log-ratios before any clipping, nats; minus it estimates the KL."""
    held_high: Tensor
    """Share of the tokens held at their upper bound, in [0, 1]; 0 with ``sequence``."""
    held_low: Tensor
    """Share of the tokens held at their lower bound, in [0, 1]; 0 with ``sequence``."""
    clipped_high: Tensor
    """bool: zeroed because the ratio passed 1 + clip_high with a positive advantage."""
    clipped_low: Tensor
    """bool: zeroed because the ratio fell below 1 - clip_low with a negative advantage."""
    clipped_dual: Tensor
    """bool: zeroed because the ratio passed dual_clip with a negative advantage."""
    saturated: Tensor
    """bool: log_rho was above MAX_LOG_RHO, nothing else bounded it, and it was held there."""
    clip_share: Tensor
    """Share of the response whose gradient the clip range took, in [0, 1]."""
    dual_share: Tensor
    """Share of the response whose gradient the dual clip took, in [0, 1]."""
    advantage: Tensor
    """The response's one advantage; 0 for a row without tokens."""
    totals: Tensor
    """(6,) sums over the sequences of what ``TOTALS`` names."""
    uneven: Tensor
    """bool: its advantages are not one number; only where the check was left to the caller."""


class Surrogate(NamedTuple):
    """Loss per sequence and what happened to it."""

    loss: Tensor
    """(B,), to be minimised; 0 for a row without tokens."""
    statistics: Statistics


def clipped_surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    p: float | tuple[float, float] | Tensor,
    clip_low: float,
    clip_high: float,
    clip_level: str = SEQUENCE,
    dual_clip: float | None = None,
    sequence_weights: Tensor | None = None,
    aggregate: Aggregate | None = None,
    fused: bool = True,
    check_advantages: bool = True,
) -> Surrogate:
    """Clipped policy-gradient surrogate on the power mean of each response's token ratios.

    With ``r_t = exp(log_prob_t - old_log_prob_t)`` and ``M_p`` the power mean over a response:

    - ``sequence``: ``rho = M_p(r)``, ``loss = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high)
      A)``. One clip per response, the paper's default; GSPO's objective at p = 0.
    - ``token``: ``loss = -M_p(r') A`` with ``r' = min(r, 1 + clip_high)`` for A > 0 and
      ``max(r, 1 - clip_low)`` for A < 0. GRPO at p = 1, GMPO at p = 0.
    - ``token_then_sequence``: every ratio is first held within
      ``[1 / (1 + clip_high), 1 + clip_high]`` whatever the sign of A, then the clip of
      ``sequence`` follows, which can bind only where ``clip_low < clip_high / (1 + clip_high)``.

    **Source**: Eq. 2 and Eq. 15 with gradient Eq. 16 (``sequence``), Eq. 11 with gradient Eq. 13
    (``token``), the authors' released code (``token_then_sequence``). Dual clip: Ye et al. 2020
    (arXiv 1912.09729), not in the paper.

    Args:
        log_prob: (B, T) log-probabilities under the current policy, nats; carries the gradient.
        old_log_prob: (B, T) log-probabilities under the policy that wrote the responses, nats;
            a constant.
        advantages: (B,), or (B, T) with one value along each response; constants.
        response_mask: (B, T) bool or 0/1.
        p: order of the power mean, in [-inf, +inf]: one number, (B,), or two numbers, that of the
            responses with a positive or no advantage and that of those with a negative one.
        clip_low: distance of the lower bound from 1, in (0, 1).
        clip_high: distance of the upper bound from 1, > 0.
        clip_level: one of ``CLIP_LEVELS``.
        dual_clip: ratio, > 1 + clip_high, above which a response (a token, with ``token``) of
            negative advantage is no longer pushed down; None for no such bound.
        sequence_weights: (B,) importance weights multiplied with the loss, constants; None for 1.
        aggregate: ``(log_ratio (B, T), mask (B, T), p) -> (B,)`` log of the sequence's ratio, in
            place of the power mean. Log-ratios in the padding are 0, and clipped per token where
            ``clip_level`` says so; a row without tokens comes as one of ratio 1.
        fused: on a GPU with Triton, in single or half precision and without ``aggregate``, compute
            all of it in one kernel forward and one backward, which need no wait for the device.
        check_advantages: whether advantages that vary along a response are an error here; where
            False, a fused surrogate says so in ``Statistics.uneven`` and waits for nothing.

    Returns:
        The loss (B,) and per-sequence statistics.

    Raises:
        ValueError: if a clip range, a level or a shape is not as stated, or an order is NaN, naming
            it; orders in a tensor on a GPU are not looked at, and NaN there gives a loss of NaN.
    """
    _check_clipping(clip_low, clip_high, clip_level, dual_clip)
    mask_BT = as_mask(log_prob, response_mask)
    if fused and aggregate is None and can_fuse(log_prob, old_log_prob):
        surrogate = _fused(
            log_prob,
            old_log_prob,
            advantages,
            mask_BT,
            p,
            sequence_weights,
            CLIP_LEVELS.index(clip_level),
            RatioBounds(1 - clip_low, 1 + clip_high, dual_clip or math.inf, MAX_LOG_RHO),
        )
        if check_advantages and surrogate.statistics.uneven.any():
            sequence_advantage(advantages, mask_BT)
            raise AssertionError("the check above names what varies")
        return surrogate
    dtype = compute_dtype(log_prob.dtype)
    advantage_B = sequence_advantage(advantages.detach(), mask_BT).to(dtype)
    bounds = token_bounds(
        advantage_B,
        clip_low=clip_low,
        clip_high=clip_high,
        clip_level=clip_level,
        dual_clip=dual_clip,
    )
    if isinstance(p, tuple):
        p = order_of_sign(advantage_B, *p)
    if aggregate is None:
        mean = log_power_mean_of_ratio(log_prob, old_log_prob, mask_BT, p, bounds)
    else:
        mean = _aggregated(aggregate, log_prob, old_log_prob, mask_BT, p, bounds)
    log_rho_B = mean.log_rho

    high_B = low_B = dual_B = torch.zeros_like(advantage_B, dtype=torch.bool)
    if clip_level != TOKEN:
        high_B = (advantage_B > 0) & (log_rho_B > math.log1p(clip_high))
        low_B = (advantage_B < 0) & (log_rho_B < math.log1p(-clip_low))
        if dual_clip is not None:
            dual_B = (advantage_B < 0) & (log_rho_B > math.log(dual_clip))
    # Held at the bound with its gradient intact: a response that became far too likely under a
    # negative advantage must still be pushed down.
    excess_B = (log_rho_B.detach() - MAX_LOG_RHO).clamp(min=0)
    saturated_B = (excess_B > 0) & ~(high_B | dual_B)
    rho_B = torch.exp(log_rho_B - excess_B)
    rho_B = torch.where(high_B, 1 + clip_high, rho_B)
    rho_B = torch.where(low_B, 1 - clip_low, rho_B)
    if dual_clip is not None:
        rho_B = torch.where(dual_B, dual_clip, rho_B)
    loss_B = -rho_B * advantage_B
    if sequence_weights is not None:
        _check_weights(sequence_weights, len(advantage_B))
        weights_B = sequence_weights.detach().to(dtype)
        loss_B = loss_B * torch.where(mask_BT.any(-1), weights_B, 0)
    held_dual_B = torch.where((advantage_B < 0) & (clip_level == TOKEN), mean.held_high, 0)
    held_B = mean.held_high + mean.held_low - held_dual_B
    clip_share_B = torch.where(high_B | low_B, 1.0, held_B)
    dual_share_B = torch.where(dual_B, 1.0, held_dual_B)
    count_B = mask_BT.sum(-1)
    statistics = Statistics(
        log_rho=log_rho_B.detach(),
        mean_log_ratio=mean.mean_log_ratio,
        held_high=mean.held_high,
        held_low=mean.held_low,
        clipped_high=high_B,
        clipped_low=low_B,
        clipped_dual=dual_B,
        saturated=saturated_B,
        clip_share=clip_share_B,
        dual_share=dual_share_B,
        advantage=advantage_B,
        totals=torch.stack(
            [
                clip_share_B.sum(),
                dual_share_B.sum(),
                (mean.mean_log_ratio * count_B).sum(),
                count_B.sum(),
                (count_B > 0).sum(),
                torch.zeros_like(count_B).sum(),
            ]
        ),
        uneven=torch.zeros_like(high_B),
    )
    return Surrogate(loss_B, statistics)


def _fused(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    mask_BT: Tensor,
    p: float | tuple[float, float] | Tensor,
    sequence_weights: Tensor | None,
    level: int,
    bounds: RatioBounds,
) -> Surrogate:
    """:func:`clipped_surrogate` through the kernels; reads nothing of the device."""
    num_rows = len(log_prob)
    check_old_log_prob(log_prob, old_log_prob)
    _check_advantages_shape(advantages, mask_BT)
    if sequence_weights is not None:
        _check_weights(sequence_weights, num_rows)
        sequence_weights = sequence_weights.detach().contiguous()
    for one in p if isinstance(p, tuple) else (p,):
        check_orders(one, num_rows)
    if not isinstance(p, tuple):
        if isinstance(p, Tensor):
            p = p.to(log_prob.device, torch.float32).expand(num_rows).contiguous()
        else:
            p = (float(p), float(p))
    loss_B, statistics = fused_surrogate(
        log_prob, old_log_prob, mask_BT, advantages, p, sequence_weights, level, bounds
    )
    return Surrogate(loss_B, Statistics(**statistics))


def order_of_sign(
    advantage_B: Tensor, positive: float | Tensor, negative: float | Tensor
) -> Tensor:
    """An order for each response by the sign of its advantage.

    Args:
        advantage_B: (B,) advantages.
        positive: order of the responses with a positive or no advantage, a number or (B,).
        negative: order of those with a negative one, likewise.

    Returns:
        (B,) in the dtype of the advantages.
    """
    # A number is filled in on the device: one that is sent there would be waited for.
    positive, negative = (
        side.to(advantage_B.dtype)
        if isinstance(side, Tensor)
        else torch.full_like(advantage_B, side)
        for side in (positive, negative)
    )
    return torch.where(advantage_B < 0, negative, positive)


def _aggregated(
    aggregate: Aggregate,
    log_prob: Tensor,
    old_log_prob: Tensor,
    mask_BT: Tensor,
    p: float | Tensor,
    bounds: TokenBounds | None,
) -> LogPowerMean:
    """What :func:`log_power_mean_of_ratio` returns, with a user's function for the mean."""
    dtype = compute_dtype(log_prob.dtype)
    free_BT = (log_prob.to(dtype) - old_log_prob.detach().to(dtype)).masked_fill(~mask_BT, 0)
    has_tokens_B = mask_BT.any(-1)
    # A row without tokens looks like one of ratio 1: most functions would divide by its length.
    log_rho_B = aggregate(hold(free_BT, bounds), mask_BT | ~has_tokens_B.unsqueeze(-1), p)
    if log_rho_B.shape != has_tokens_B.shape:
        raise ValueError(
            f"aggregate: it returned shape {tuple(log_rho_B.shape)}; return one log ratio for each "
            f"response, {tuple(has_tokens_B.shape)}"
        )
    count_B = mask_BT.sum(-1).clamp(min=1)
    zero_B = torch.zeros_like(count_B, dtype=dtype)
    high_B = low_B = zero_B
    if bounds is not None:
        high_B = (free_BT > bounds.upper.unsqueeze(-1)).sum(-1) / count_B
        low_B = (free_BT < bounds.lower.unsqueeze(-1)).sum(-1) / count_B
    return LogPowerMean(
        log_rho=torch.where(has_tokens_B, log_rho_B, 0),
        mean_log_ratio=free_BT.detach().sum(-1) / count_B,
        held_high=high_B,
        held_low=low_B,
    )


def token_bounds(
    advantage_B: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    clip_level: str,
    dual_clip: float | None = None,
) -> TokenBounds | None:
    """Range within which each response's token log-ratios are held before they are averaged.

    **Source**: ``token``: the min and max inside Eq. 11; ``token_then_sequence``: the authors'
    released code.

    Args:
        advantage_B: (B,) advantages.
        clip_low: as in :func:`clipped_surrogate`.
        clip_high: as in :func:`clipped_surrogate`.
        clip_level: one of ``CLIP_LEVELS``.
        dual_clip: as in :func:`clipped_surrogate`.

    Returns:
        (B,) bounds in nats; None for ``sequence``, which has none.
    """
    if clip_level == SEQUENCE:
        return None
    high = math.log1p(clip_high)
    if clip_level == TOKEN_THEN_SEQUENCE:
        upper_B = torch.full_like(advantage_B, high)
        return TokenBounds(-upper_B, upper_B)
    dual = math.inf if dual_clip is None else math.log(dual_clip)
    unbounded_B = torch.full_like(advantage_B, math.inf)
    return TokenBounds(
        lower=torch.where(advantage_B < 0, math.log1p(-clip_low), -unbounded_B),
        upper=torch.where(advantage_B > 0, high, torch.where(advantage_B < 0, dual, unbounded_B)),
    )


def log_space_clip(distance: float) -> ClipRange:
    """GMPO's clip range ``[exp(-distance), exp(distance)]`` as distances from 1.

    **Source**: GMPO (arXiv 2507.20673) clips log-ratios, by default at 0.4.

    Args:
        distance: nats, in (0, MAX_LOG_RHO).

    Returns:
        The same range for ``clip_low`` and ``clip_high``.

    Raises:
        ValueError: if ``distance`` is outside that range.
    """
    if not 0 < distance < MAX_LOG_RHO:
        raise ValueError(
            f"log_space_clip: {distance}; give a distance in nats between 0 and {MAX_LOG_RHO:g}, "
            "as 0.4"
        )
    return ClipRange(clip_low=-math.expm1(-distance), clip_high=math.expm1(distance))


def sequence_advantage(advantages: Tensor, mask_BT: Tensor) -> Tensor:
    """One advantage per response, from (B,) or from one value repeated along each response.

    Args:
        advantages: (B,) or (B, T).
        mask_BT: (B, T) bool; the response tokens.

    Returns:
        (B,); 0 for a row without tokens.

    Raises:
        ValueError: if the shape does not fit, or the advantage varies along a response: the
            objective has one advantage per response.
    """
    _check_advantages_shape(advantages, mask_BT)
    if advantages.ndim == 2:
        return one_per_response(
            advantages,
            mask_BT,
            field="advantages",
            fix="use a group-relative estimator (one advantage per response)",
        )
    return torch.where(mask_BT.any(-1), advantages, 0)


def one_per_response(values_BT: Tensor, mask_BT: Tensor, *, field: str, fix: str) -> Tensor:
    """The one value repeated along each response.

    Args:
        values_BT: (B, T).
        mask_BT: (B, T) bool; the response tokens.
        field: name of the values, for the error.
        fix: what to do about values that vary, for the error.

    Returns:
        (B,); 0 for a row without tokens.

    Raises:
        ValueError: if the values vary along a response, or one is NaN.
    """
    first_B, is_uneven_B = first_of_each(values_BT, mask_BT)
    if is_uneven_B.any():
        if torch.isnan(values_BT).logical_and_(mask_BT).any():
            raise ValueError(f"{field}: NaN; every response needs a number")
        raise ValueError(f"{field}: they vary along a response; {fix}")
    return first_B


def first_of_each(values_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Each response's first value, and whether another one differs from it.

    Args:
        values_BT: (B, T).
        mask_BT: (B, T) bool; the response tokens.

    Returns:
        (B,) values, 0 for a row without tokens, and (B,) bool; a NaN differs from everything.
    """
    first_B1 = mask_BT.to(torch.uint8).argmax(-1, keepdim=True)
    one_B1 = values_BT.gather(-1, first_B1)
    is_uneven_B = torch.ne(values_BT, one_B1).logical_and_(mask_BT).any(-1)
    return torch.where(mask_BT.any(-1), one_B1.squeeze(-1), 0), is_uneven_B


def _check_advantages_shape(advantages: Tensor, mask_BT: Tensor) -> None:
    if advantages.shape not in (mask_BT.shape, mask_BT.shape[:1]):
        raise ValueError(
            f"advantages: shape {tuple(advantages.shape)}; give {tuple(mask_BT.shape[:1])} "
            f"or {tuple(mask_BT.shape)}"
        )


def _check_clipping(
    clip_low: float, clip_high: float, clip_level: str, dual_clip: float | None
) -> None:
    if not 0 < clip_low < 1:
        raise ValueError(f"clip_low: {clip_low}; give a distance from 1 in (0, 1)")
    if not clip_high > 0:
        raise ValueError(f"clip_high: {clip_high}; give a distance from 1 above 0")
    if clip_level not in CLIP_LEVELS:
        raise ValueError(f"clip_level: {clip_level!r}; give one of {', '.join(CLIP_LEVELS)}")
    if dual_clip is not None and not dual_clip > 1 + clip_high:
        raise ValueError(
            f"dual_clip: {dual_clip}; give a ratio above 1 + clip_high ({1 + clip_high:g}) or null"
        )


def _check_weights(sequence_weights: Tensor, num_rows: int) -> None:
    if sequence_weights.shape != (num_rows,):
        raise ValueError(
            f"sequence_weights: shape {tuple(sequence_weights.shape)}; give {(num_rows,)}"
        )
