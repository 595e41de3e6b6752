"""How far the policy has moved from the one that responses were written with, by their age.

The ratio of this project's loss is that of the present policy over the old one, whose
log-probabilities are computed at the start of a step; that of the old one over the rollout's, which
grows with the age of a response, never enters it. Here is what it would do there.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holderpo.metrics import (
    AGE_NAMES,
    ROLLOUT_AGE_FRAC,
    ROLLOUT_ESS_FRAC,
    ROLLOUT_IS_WEIGHT,
    ROLLOUT_LOG_RATIO_MEAN,
    ROLLOUT_LOG_RATIO_STD,
)
from holderpo.power_mean import as_mask, token_weights


@torch.no_grad()
def describe_by_age(
    log_ratio: Tensor,
    mask: Tensor,
    age: Tensor,
    p: float | Tensor | None,
    is_weight: Tensor | None = None,
) -> dict[str, float]:
    """Log-ratios of the old policy over the one of the rollout, for each age.

    Args:
        log_ratio: (B, T) log-probability at the start of the step less that of the rollout, nats.
        mask: (B, T) bool or 0/1; a row without tokens counts nowhere.
        age: (B,) steps between the weights that wrote a response's first token and those of the
            step, from 0 on.
        p: order whose token weights are described, one number or (B,); None for no weights.
        is_weight: (B, T) what each token's loss is multiplied by to correct for its age; None
            where nothing is.

    Returns:
        Metrics by name, those of ages that no response has left out.

    Raises:
        ValueError: if shapes do not fit or an order is NaN.
    """
    mask_BT = as_mask(log_ratio, mask)
    count_B = mask_BT.sum(-1)
    mean_B = _mean(log_ratio, mask_BT)
    values = {
        ROLLOUT_LOG_RATIO_MEAN: mean_B,
        ROLLOUT_LOG_RATIO_STD: _mean((log_ratio - mean_B[:, None]).square(), mask_BT).sqrt(),
    }
    if p is not None:
        hhi_B = token_weights(log_ratio, mask_BT, p).square().sum(-1)
        values[ROLLOUT_ESS_FRAC] = 1 / (count_B * hhi_B)
    if is_weight is not None:
        values[ROLLOUT_IS_WEIGHT] = _mean(is_weight, mask_BT)
    has_tokens_B = count_B > 0
    age_B = age.clamp(max=len(AGE_NAMES) - 1)
    found: dict[str, float] = {}
    for number, name in enumerate(AGE_NAMES):
        of_age_B = has_tokens_B & (age_B == number)
        if not of_age_B.any():
            continue
        share = of_age_B.sum() / has_tokens_B.sum()
        found[f"{ROLLOUT_AGE_FRAC}_{name}"] = share.item()
        for metric, value_B in values.items():
            found[f"{metric}_{name}"] = value_B[of_age_B].mean().item()
    return found


def _mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Over each response's tokens, (B,)."""
    return values_BT.masked_fill(~mask_BT, 0).sum(-1) / mask_BT.sum(-1).clamp(min=1)
