"""What the token ratios look like.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.objective import MAX_LOG_RHO
from holderpo.power_mean import (
    TokenBounds,
    as_mask,
    compute_dtype,
    hold,
    log_power_mean,
    token_weights,
)

# The largest weights whose share is reported: this fraction of a response's tokens, rounded up.
TOP_FRACTION = 0.1
LOW_QUANTILE, HIGH_QUANTILE = 0.05, 0.95


class RowDiagnostics(NamedTuple):
    """Per-response description of the token ratios, without gradient; all (B,)."""

    ess_frac: Tensor
    """Effective number of tokens over the number of tokens, 1 / (n sum W^2), in (0, 1]."""
    hhi: Tensor
    """Sum of squared token weights (Herfindahl-Hirschman index), in [1/n, 1]."""
    weight_entropy_frac: Tensor
    """Entropy of the token weights over its maximum ln n, in [0, 1]; 1 where n = 1."""
    top_token_share: Tensor
    """Share of the ceil(n / 10) largest weights, in [0.1, 1]."""
    second_moment: Tensor
    """``rho^2 sum W^2``, the factor of p in the gradient's second moment (Theorem 7)."""
    log_ratio_std: Tensor
    """Standard deviation of the log-ratios over the tokens (divisor n), nats."""
    log_ratio_min: Tensor
    """Smallest log-ratio, nats."""
    log_ratio_max: Tensor
    """Largest log-ratio, nats."""
    log_ratio_q05: Tensor
    """5 % quantile of the log-ratios over the tokens, linearly interpolated, nats."""
    log_ratio_q95: Tensor
    """95 % quantile, nats."""


class TokenClipFractions(NamedTuple):
    """Share of a response's tokens beyond their bound, without gradient; both (B,)."""

    high: Tensor
    """Above the upper bound."""
    low: Tensor
    """Below the lower bound."""


@torch.no_grad()
def describe_rows(
    log_ratio: Tensor, mask: Tensor, p: float | Tensor, bounds: TokenBounds | None = None
) -> RowDiagnostics:
    """Spread of the log-ratios and concentration of the token weights, per response.

    **Source**: Theorem 1 (entropy of the weights), Theorem 7 (sum of squared weights).

    Args:
        log_ratio: (B, T) nats.
        mask: (B, T) bool or 0/1.
        p: order whose token weights are described, one number or (B,).
        bounds: range in which the tokens' log-ratios are held before they are weighted, as with
            token clipping; the log-ratios themselves are described as they are. A held token
            counts with its weight, though it passes no gradient.

    Returns:
        (B,) tensors; a row without tokens gives 0 everywhere, one with a NaN among its log-ratios
        NaN.

    Raises:
        ValueError: if shapes do not fit or an order is NaN.
    """
    mask_BT = as_mask(log_ratio, mask)
    count_B = mask_BT.sum(-1)
    has_tokens_B = count_B > 0
    # Looked for before the sort, which puts a NaN behind the padding.
    is_broken_B = (log_ratio.isnan() & mask_BT).any(-1)
    # Tokens in order of their ratio first, then the padding: weights are in order too, rising for
    # p > 0 and falling for p < 0.
    dtype = compute_dtype(log_ratio.dtype)
    sorted_BT = log_ratio.to(dtype).masked_fill(~mask_BT, math.inf).sort(-1).values
    place_T = torch.arange(mask_BT.shape[-1], device=mask_BT.device)
    mask_BT = place_T < count_B.unsqueeze(-1)
    sorted_BT = sorted_BT.masked_fill(~mask_BT, 0)

    held_BT = hold(sorted_BT, bounds)
    weights_BT = token_weights(held_BT, mask_BT, p)
    count_float_B = count_B.clamp(min=1).to(dtype)
    hhi_B = weights_BT.square().sum(-1)
    ess_B = 1 / (count_float_B * hhi_B.clamp(min=torch.finfo(dtype).tiny))
    entropy_B = torch.special.entr(weights_BT).sum(-1)
    entropy_frac_B = torch.where(
        count_B > 1, entropy_B / count_float_B.log().clamp(min=math.log(2)), 1
    )
    num_top_B1 = (count_B * TOP_FRACTION).ceil().unsqueeze(-1)
    first_BT = place_T < num_top_B1
    last_BT = mask_BT & (place_T >= count_B.unsqueeze(-1) - num_top_B1)
    share_B = torch.maximum((weights_BT * first_BT).sum(-1), (weights_BT * last_BT).sum(-1))

    mean_B1 = (sorted_BT.sum(-1) / count_float_B).unsqueeze(-1)
    deviation_BT = (sorted_BT - mean_B1).masked_fill(~mask_BT, 0)
    rows = RowDiagnostics(
        ess_frac=ess_B,
        hhi=hhi_B,
        weight_entropy_frac=entropy_frac_B,
        top_token_share=share_B,
        second_moment=_second_moment(held_BT, mask_BT, p, hhi_B),
        log_ratio_std=(deviation_BT.square().sum(-1) / count_float_B).sqrt(),
        log_ratio_min=sorted_BT[:, 0],
        log_ratio_max=_quantile(sorted_BT, count_B, 1.0),
        log_ratio_q05=_quantile(sorted_BT, count_B, LOW_QUANTILE),
        log_ratio_q95=_quantile(sorted_BT, count_B, HIGH_QUANTILE),
    )
    return RowDiagnostics(
        *(
            torch.where(has_tokens_B, values_B, 0).masked_fill(is_broken_B, math.nan)
            for values_B in rows
        )
    )


@torch.no_grad()
def nonfinite_rows(log_ratio: Tensor, mask: Tensor, row_losses: Tensor | None = None) -> Tensor:
    """Which responses have a NaN or an infinity in a log-ratio or in their loss.

    Args:
        log_ratio: (B, T) nats.
        mask: (B, T) bool or 0/1.
        row_losses: (B,) loss of each response; None where it is not known.

    Returns:
        (B,) bool; False for a row without tokens.

    Raises:
        ValueError: if shapes do not fit.
    """
    mask_BT = as_mask(log_ratio, mask)
    is_broken_B = (~log_ratio.isfinite() & mask_BT).any(-1)
    if row_losses is not None:
        is_broken_B |= ~row_losses.isfinite() & mask_BT.any(-1)
    return is_broken_B


@torch.no_grad()
def second_moment(
    log_ratio: Tensor, mask: Tensor, p: float | Tensor, bounds: TokenBounds | None = None
) -> Tensor:
    """``rho^2 sum W^2`` alone, which costs a fraction of :func:`describe_rows`.

    **Source**: Theorem 7.

    Args:
        log_ratio: (B, T) nats.
        mask: (B, T) bool or 0/1.
        p: order, one number or (B,).
        bounds: as for :func:`describe_rows`.

    Returns:
        (B,); 0 for a row without tokens.

    Raises:
        ValueError: if shapes do not fit or an order is NaN.
    """
    mask_BT = as_mask(log_ratio, mask)
    held_BT = hold(log_ratio, bounds)
    hhi_B = token_weights(held_BT, mask_BT, p).square().sum(-1)
    return torch.where(mask_BT.any(-1), _second_moment(held_BT, mask_BT, p, hhi_B), 0)


def _second_moment(held_BT: Tensor, mask_BT: Tensor, p: float | Tensor, hhi_B: Tensor) -> Tensor:
    log_rho_B = log_power_mean(held_BT, mask_BT, p).clamp(max=MAX_LOG_RHO)
    return torch.exp(2 * log_rho_B) * hhi_B


def _quantile(sorted_BT: Tensor, count_B: Tensor, fraction: float) -> Tensor:
    """Quantile of the first ``count`` values of each sorted row, linearly interpolated."""
    position_B = (count_B - 1).clamp(min=0).to(sorted_BT.dtype) * fraction
    below_B = position_B.floor().long()
    above_B = position_B.ceil().long()
    low_B, high_B = (
        sorted_BT.gather(-1, place_B.unsqueeze(-1)).squeeze(-1) for place_B in (below_B, above_B)
    )
    return torch.lerp(low_B, high_B, position_B - below_B)


@torch.no_grad()
def token_clip_fractions(
    log_ratio: Tensor, mask: Tensor, bounds: TokenBounds
) -> TokenClipFractions:
    """Share of each response's tokens beyond ``bounds``.

    With the bounds of token clipping it says what that clip zeroes or, where the clip is on whole
    responses, what it would.

    **Source**: the masks of Eq. 13.

    Args:
        log_ratio: (B, T) nats.
        mask: (B, T) bool or 0/1.
        bounds: per response, as :func:`holderpo.objective.token_bounds` gives them.

    Returns:
        (B,) fractions; 0 for a row without tokens.

    Raises:
        ValueError: if shapes do not fit.
    """
    mask_BT = as_mask(log_ratio, mask)
    count_B = mask_BT.sum(-1).clamp(min=1)
    above_BT = (log_ratio > bounds.upper.unsqueeze(-1)) & mask_BT
    below_BT = (log_ratio < bounds.lower.unsqueeze(-1)) & mask_BT
    return TokenClipFractions(high=above_BT.sum(-1) / count_B, low=below_BT.sum(-1) / count_B)
