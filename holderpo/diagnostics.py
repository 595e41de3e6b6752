"""What the token ratios look like, and the one table of this project's metric names.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.power_mean import token_weights


class MetricInfo(NamedTuple):
    """One row of the table of metrics."""

    name: str
    """Name under which it is logged."""
    unit: str
    """Unit of the value."""
    reduction: str
    """How it is reduced over the rows and updates of a step."""
    healthy: str
    """Range seen in a healthy run."""
    bad_means: str
    """What a value outside that range means."""


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo("holder/p", "order", "value", "as scheduled", "schedule or resume is wrong"),
    MetricInfo(
        "holder/ess_frac",
        "fraction of tokens",
        "mean over responses",
        "0.7 to 1",
        "near 0: few tokens carry the gradient; 1 throughout: p has no effect",
    ),
    MetricInfo(
        "holder/ess_frac_min",
        "fraction of tokens",
        "minimum over responses",
        "above 1/T",
        "1/T: one token carries a whole response",
    ),
    MetricInfo(
        "holder/weight_entropy_frac",
        "fraction of ln T",
        "mean over responses",
        "0.9 to 1",
        "low: the gradient is concentrated on few tokens",
    ),
    MetricInfo(
        "holder/log_ratio_std",
        "nats",
        "mean over responses of the spread over tokens",
        "0.01 to 0.5",
        "0: every ratio is 1 and p has no effect; above 1: updates are too large",
    ),
    MetricInfo(
        "holder/log_ratio_min",
        "nats",
        "minimum over tokens",
        "above -5",
        "a token's probability has collapsed",
    ),
    MetricInfo(
        "holder/log_ratio_max",
        "nats",
        "maximum over tokens",
        "below 3",
        "a token's probability has exploded",
    ),
    MetricInfo(
        "holder/clip_frac_high",
        "fraction of responses",
        "mean over responses",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        "holder/clip_frac_low",
        "fraction of responses",
        "mean over responses",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        "holder/saturated_frac",
        "fraction of responses",
        "mean over responses",
        "0",
        "above 0: ratios are held at exp(20); far too large updates",
    ),
    MetricInfo(
        "group/no_signal_frac",
        "fraction of groups",
        "mean over groups",
        "below 0.8",
        "1: all rewards within every group are equal, nothing is learnt",
    ),
)


class RowDiagnostics(NamedTuple):
    """Per-response description of the token ratios, without gradient; all (B,)."""

    ess_frac: Tensor
    """Effective number of tokens over the number of tokens, 1 / (n sum W^2), in (0, 1]."""
    weight_entropy_frac: Tensor
    """Entropy of the token weights over its maximum ln n, in [0, 1]; 1 where n = 1."""
    log_ratio_std: Tensor
    """Standard deviation of the log-ratios over the tokens (divisor n), nats."""
    log_ratio_min: Tensor
    """Smallest log-ratio, nats."""
    log_ratio_max: Tensor
    """Largest log-ratio, nats."""


@torch.no_grad()
def describe_rows(log_ratio: Tensor, mask: Tensor, p: float | Tensor) -> RowDiagnostics:
    """Spread of the log-ratios and concentration of the token weights, per response.

    **Source**: Theorem 1 (entropy of the weights), Theorem 7 (sum of squared weights).

    Args:
        log_ratio: (B, T) nats.
        mask: (B, T) bool or 0/1.
        p: order whose token weights are described, one number or (B,).

    Returns:
        (B,) tensors; a row without tokens gives 0 everywhere.
    """
    mask_BT = mask != 0
    log_ratio_BT = torch.where(mask_BT, log_ratio, 0).float()
    count_B = mask_BT.sum(-1)
    has_tokens_B = count_B > 0
    weights_BT = token_weights(log_ratio_BT, mask_BT, p)
    count_float_B = count_B.clamp(min=1).float()
    hhi_B = weights_BT.square().sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
    ess_B = torch.where(has_tokens_B, 1 / (count_float_B * hhi_B), 0)
    entropy_B = torch.special.entr(weights_BT).sum(-1)
    largest_entropy_B = count_float_B.log()
    entropy_frac_B = torch.where(
        count_B > 1, entropy_B / largest_entropy_B.clamp(min=math.log(2)), has_tokens_B.float()
    )
    mean_B = log_ratio_BT.sum(-1) / count_float_B
    deviation_BT = torch.where(mask_BT, log_ratio_BT - mean_B.unsqueeze(-1), 0)
    std_B = (deviation_BT.square().sum(-1) / count_float_B).sqrt()
    largest_B = torch.where(mask_BT, log_ratio_BT, -math.inf).amax(-1)
    smallest_B = torch.where(mask_BT, log_ratio_BT, math.inf).amin(-1)
    return RowDiagnostics(
        ess_frac=ess_B,
        weight_entropy_frac=entropy_frac_B,
        log_ratio_std=std_B,
        log_ratio_min=torch.where(has_tokens_B, smallest_B, 0),
        log_ratio_max=torch.where(has_tokens_B, largest_B, 0),
    )
