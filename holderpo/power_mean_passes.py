"""How the passes over the tokens are made: block by block on a CPU, and large orders."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

# Up to here exponentials may be taken around a rounded number; beyond, p magnifies its error.
LARGE_ORDER = 1e3
# Elements worked on at once on a CPU: the few temporaries of a block stay in the cache, and there
# are enough of them for torch to use its threads (it splits from 32,768 on).
_BLOCK_ELEMENTS = 2**16


def row_blocks(values: Tensor) -> Iterator[slice]:
    """Rows worked on at once: all of them on an accelerator.

    Args:
        values: (B, T).

    Yields:
        Slices of rows, in order.
    """
    num_rows, num_tokens = values.shape
    size = max(_BLOCK_ELEMENTS // num_tokens, 1)
    if values.device.type != "cpu":
        size = max(num_rows, 1)
    for first in range(0, num_rows, size):
        yield slice(first, first + size)


def value_of_large_order(
    log_ratio_BT: Tensor, mask_BT: Tensor, p_B: Tensor
) -> tuple[Tensor, Tensor]:
    """The log power mean of large orders, taken around the exact extreme of each row.

    Args:
        log_ratio_BT: (B, T) nats.
        mask_BT: (B, T) bool.
        p_B: (B,) orders, infinite ones included.

    Returns:
        Which orders are large, (B,) bool, and the value for these.
    """
    large_B = p_B.abs() > LARGE_ORDER
    sign_B = torch.where(p_B < 0, -1.0, torch.ones_like(p_B))
    signed_BT = (log_ratio_BT * sign_B.unsqueeze(-1)).masked_fill_(~mask_BT, -math.inf)
    extreme_B = torch.where(mask_BT.any(-1), signed_BT.amax(-1), 0)
    size_B = torch.where(large_B & torch.isfinite(p_B), p_B.abs(), 1)
    # Never above 0, and -inf in the padding.
    exponent_BT = (signed_BT - extreme_B.unsqueeze(-1)) * size_B.unsqueeze(-1)
    count_B = mask_BT.sum(-1).clamp(min=1)
    mean_power_B = exponent_BT.exp().sum(-1) / count_B
    mean_expm1_B = exponent_BT.expm1().masked_fill_(~mask_BT, 0).sum(-1) / count_B
    # Each of the two is exact where the other loses digits.
    log_mean_B = torch.where(mean_expm1_B > -0.5, mean_expm1_B.log1p(), mean_power_B.log())
    is_extreme_B = torch.isinf(p_B) | ~mask_BT.any(-1)
    return large_B, sign_B * (extreme_B + torch.where(is_extreme_B, 0, log_mean_B / size_B))
