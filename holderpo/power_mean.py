"""The masked power mean of importance ratios, in log space.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Up to here the sum of expm1(p * deviation) is far from overflow in float32 (exp(88.7)).
_EXPM1_LIMIT = 60.0
# From here on the power mean is the maximum (minimum) to every digit, and p * log_ratio overflows.
_LARGEST_ORDER = 1e30


def log_power_mean(log_ratio: Tensor, mask: Tensor, p: float | Tensor) -> Tensor:
    """Logarithm of the masked power mean of order ``p`` of the ratios ``exp(log_ratio)``.

    ``log rho_p = (1/p) log mean_t exp(p * log_ratio_t)`` over the tokens where ``mask`` is set;
    the mean of ``log_ratio`` at ``p = 0``, its maximum and minimum at ``p = +inf`` and ``-inf``.
    The gradient with respect to ``log_ratio`` is :func:`token_weights`, for every order.

    **Source**: Eq. 1 and Eq. 18 (value), Eq. 3 and Eq. 8 (gradient).

    Args:
        log_ratio: (B, T) floating point; log importance ratios in nats. Values where ``mask`` is
            not set are ignored, whatever they are.
        mask: (B, T) bool or 0/1; the response tokens.
        p: the order, one number or a (B,) tensor; any value in [-inf, +inf]. No gradient flows
            into it.

    Returns:
        (B,) in the dtype of ``log_ratio``; exactly 0, with zero gradient, for a row without tokens.

    Raises:
        ValueError: if shapes do not fit or an order is NaN.
    """
    value: Tensor = _LogPowerMean.apply(
        log_ratio, _check_mask(log_ratio, mask), _order(p, log_ratio)
    )
    return value


def token_weights(log_ratio: Tensor, mask: Tensor, p: float | Tensor) -> Tensor:
    """Share of each token in the gradient of the log power mean.

    ``W_t = exp(p * log_ratio_t) / sum_k exp(p * log_ratio_k)`` over the masked tokens: uniform at
    ``p = 0``, uniform over the largest (smallest) ratios at ``p = +inf`` (``-inf``).

    **Source**: Eq. 3 and Eq. 8.

    Args:
        log_ratio: (B, T) floating point, as in :func:`log_power_mean`.
        mask: (B, T) bool or 0/1.
        p: one number or a (B,) tensor.

    Returns:
        (B, T), without gradient; each row sums to 1, a row without tokens is all 0.

    Raises:
        ValueError: if shapes do not fit or an order is NaN.
    """
    mask_BT = _check_mask(log_ratio, mask)
    order_B = _order(p, log_ratio)
    with torch.no_grad():
        return _weights(torch.where(mask_BT, log_ratio, 0), mask_BT, order_B)


class _LogPowerMean(torch.autograd.Function):
    """Value in log space; the backward pass is the closed form, with one saved tensor."""

    @staticmethod
    def forward(ctx: Any, log_ratio_BT: Tensor, mask_BT: Tensor, order_B: Tensor) -> Tensor:
        # torch.where also removes NaN and inf in the padding.
        log_ratio_BT = torch.where(mask_BT, log_ratio_BT, 0)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(_weights(log_ratio_BT, mask_BT, order_B))
        return _value(log_ratio_BT, mask_BT, order_B)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, None, None]:
        (weights_BT,) = ctx.saved_tensors
        return grad_B.unsqueeze(-1) * weights_BT, None, None


def _value(log_ratio_BT: Tensor, mask_BT: Tensor, order_B: Tensor) -> Tensor:
    count_B = mask_BT.sum(-1).clamp(min=1).to(log_ratio_BT.dtype)
    mean_B = log_ratio_BT.sum(-1) / count_B
    # Around the mean, mean(exp(p * deviation)) >= 1, so log1p below never cancels: this is what
    # keeps the value exact for tiny p, where (1/p) log(mean) of the raw powers loses all digits.
    deviation_BT = torch.where(mask_BT, log_ratio_BT - mean_B.unsqueeze(-1), 0)
    finite_B = torch.isfinite(order_B) & (order_B.abs() > torch.finfo(order_B.dtype).tiny)
    safe_order_B = torch.where(finite_B, order_B, 1)
    scaled_BT = safe_order_B.unsqueeze(-1) * deviation_BT

    largest_B = _masked_max(scaled_BT, mask_BT)
    shift_B = torch.where(largest_B > _EXPM1_LIMIT, largest_B, 0)
    shifted_BT = torch.where(mask_BT, scaled_BT - shift_B.unsqueeze(-1), 0)
    mean_expm1_B = torch.expm1(shifted_BT).sum(-1) / count_B
    power_B = mean_B + (shift_B + torch.log1p(mean_expm1_B)) / safe_order_B

    value_B = torch.where(finite_B, power_B, mean_B)
    value_B = torch.where(order_B == math.inf, _masked_max(log_ratio_BT, mask_BT), value_B)
    return torch.where(order_B == -math.inf, -_masked_max(-log_ratio_BT, mask_BT), value_B)


def _weights(log_ratio_BT: Tensor, mask_BT: Tensor, order_B: Tensor) -> Tensor:
    infinite_B = torch.isinf(order_B)
    safe_order_B = torch.where(infinite_B, torch.sign(order_B), order_B)
    scaled_BT = safe_order_B.unsqueeze(-1) * log_ratio_BT
    below_top_BT = scaled_BT - _masked_max(scaled_BT, mask_BT).unsqueeze(-1)
    share_BT = torch.exp(below_top_BT)
    if infinite_B.any():
        share_BT = torch.where(infinite_B.unsqueeze(-1), (below_top_BT == 0).to(share_BT), share_BT)
    share_BT = torch.where(mask_BT, share_BT, 0)
    return share_BT / share_BT.sum(-1, keepdim=True).clamp(min=torch.finfo(share_BT.dtype).tiny)


def _masked_max(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    largest_B = torch.where(mask_BT, values_BT, -math.inf).amax(-1)
    return torch.where(mask_BT.any(-1), largest_B, 0)


def _order(p: float | Tensor, log_ratio: Tensor) -> Tensor:
    num_rows = log_ratio.shape[0]
    order = torch.as_tensor(p, dtype=log_ratio.dtype, device=log_ratio.device).detach()
    if order.ndim == 0:
        order = order.expand(num_rows)
    if order.shape != (num_rows,):
        raise ValueError(f"p: shape {tuple(order.shape)}; give one number or ({num_rows},)")
    if torch.isnan(order).any():
        raise ValueError("p: NaN; give orders in [-inf, +inf]")
    return torch.where(order.abs() > _LARGEST_ORDER, torch.sign(order) * math.inf, order)


def _check_mask(log_ratio: Tensor, mask: Tensor) -> Tensor:
    if log_ratio.ndim != 2 or mask.shape != log_ratio.shape:
        raise ValueError(
            f"log_ratio {tuple(log_ratio.shape)}, mask {tuple(mask.shape)}: both must be (B, T)"
        )
    if log_ratio.shape[1] == 0:
        raise ValueError("log_ratio: T is 0; give at least one token position")
    return mask if mask.dtype == torch.bool else mask != 0
