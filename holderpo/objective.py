"""The sequence-clipped HölderPO surrogate.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.power_mean import log_power_mean

# exp(20) is the largest ratio used. float32 holds up to exp(88.7), but the gradient carries the
# ratio and its norm squares it, so ratios from about exp(44) on would cost the whole update. Rows
# that reach the bound are counted in `Statistics.saturated`.
MAX_LOG_RHO = 20.0

Aggregate = Callable[[Tensor, Tensor, "float | Tensor"], Tensor]


class Statistics(NamedTuple):
    """What happened to each sequence, without gradient; all (B,)."""

    log_rho: Tensor
    """Log of the aggregated ratio, nats."""
    clipped_high: Tensor
    """bool: zeroed because the ratio passed 1 + clip_high with a positive advantage."""
    clipped_low: Tensor
    """bool: zeroed because the ratio fell below 1 - clip_low with a negative advantage."""
    saturated: Tensor
    """bool: log_rho was above MAX_LOG_RHO and the ratio was held there."""


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
    p: float | Tensor,
    clip_low: float,
    clip_high: float,
    aggregate: Aggregate = log_power_mean,
) -> Surrogate:
    """Clipped policy-gradient surrogate on the power mean of each response's token ratios.

    ``loss = -min(rho * A, clip(rho, 1 - clip_low, 1 + clip_high) * A)`` with
    ``rho = exp(log_power_mean(log_prob - old_log_prob))``: one ratio, one clip per response.

    **Source**: Eq. 2 and Eq. 15; its gradient is Eq. 16.

    Args:
        log_prob: (B, T) log-probabilities under the current policy, nats; carries the gradient.
        old_log_prob: (B, T) log-probabilities under the policy that wrote the responses, nats.
        advantages: (B,), or (B, T) with one value along each response.
        response_mask: (B, T) bool or 0/1.
        p: order of the power mean, one number or (B,).
        clip_low: distance of the lower bound from 1, in (0, 1).
        clip_high: distance of the upper bound from 1, > 0.
        aggregate: ``(log_ratio (B, T), mask (B, T), p) -> (B,)`` log of the sequence's ratio.

    Returns:
        The loss (B,) and per-sequence statistics.

    Raises:
        ValueError: if a clip range or a shape is not as stated.
    """
    if not 0 < clip_low < 1:
        raise ValueError(f"clip_low: {clip_low}; give a distance from 1 in (0, 1)")
    if not clip_high > 0:
        raise ValueError(f"clip_high: {clip_high}; give a distance from 1 above 0")
    mask_BT = response_mask if response_mask.dtype == torch.bool else response_mask != 0
    advantage_B = sequence_advantage(advantages, mask_BT)

    log_ratio_BT = torch.where(mask_BT, log_prob - old_log_prob, 0)
    if log_ratio_BT.dtype in (torch.bfloat16, torch.float16):
        log_ratio_BT = log_ratio_BT.float()
    log_rho_B = aggregate(log_ratio_BT, mask_BT, p)

    clipped_high_B = (advantage_B > 0) & (log_rho_B > math.log1p(clip_high))
    clipped_low_B = (advantage_B < 0) & (log_rho_B < math.log1p(-clip_low))
    # Held at the bound with its gradient intact: a response that became far too likely under a
    # negative advantage must still be pushed down.
    excess_B = (log_rho_B.detach() - MAX_LOG_RHO).clamp(min=0)
    rho_B = torch.exp(log_rho_B - excess_B)
    rho_B = torch.where(clipped_high_B, 1 + clip_high, rho_B)
    rho_B = torch.where(clipped_low_B, 1 - clip_low, rho_B)
    statistics = Statistics(log_rho_B.detach(), clipped_high_B, clipped_low_B, excess_B > 0)
    return Surrogate(-rho_B * advantage_B, statistics)


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
    if advantages.shape == mask_BT.shape:
        first_B1 = mask_BT.int().argmax(-1, keepdim=True)
        one_B1 = advantages.gather(-1, first_B1)
        if torch.where(mask_BT, advantages != one_B1, False).any():
            raise ValueError(
                "advantages: they vary along a response; use a group-relative estimator "
                "(one advantage per response)"
            )
        advantages = one_B1.squeeze(-1)
    elif advantages.shape != mask_BT.shape[:1]:
        raise ValueError(
            f"advantages: shape {tuple(advantages.shape)}; give {tuple(mask_BT.shape[:1])} "
            f"or {tuple(mask_BT.shape)}"
        )
    return torch.where(mask_BT.any(-1), advantages, 0)
