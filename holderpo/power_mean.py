"""The masked power mean of importance ratios, in log space.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holderpo.power_mean_passes import (
    LARGE_ORDER,
    row_blocks,
    value_of_large_order,
)

# Up to here the sum of expm1(p * deviation) is far from overflow in float32 (exp(88.7)).
_EXPM1_LIMIT = 60.0


def _around_mean(
    log_ratio_BT: Tensor, mask_BT: Tensor, p_B: Tensor, mean_B: Tensor, count_B: Tensor
) -> Tensor:
    """The formula: ``m + (1/p) log(1 + mean_t expm1(p (log_ratio_t - m)))``, m the mean; (B,).

    Around the mean, mean(exp(p * deviation)) >= 1, so log1p never cancels: this is what keeps the
    value exact for tiny p, where (1/p) log(mean) of the raw powers loses all digits. Orders are not
    0; the log-ratios are overwritten.
    """
    deviation_BT = torch.where(mask_BT, log_ratio_BT.sub_(mean_B.unsqueeze(-1)), 0)
    # Deviations add up to 0, so the 0 in the padding is never the extreme of a row.
    furthest_B = torch.where(p_B < 0, deviation_BT.amin(-1), deviation_BT.amax(-1))
    # Holds the largest term at exp(60); what the padding then adds, at most 1 each, is nothing
    # beside it.
    is_far_B = p_B * furthest_B > _EXPM1_LIMIT
    offset_B = torch.where(is_far_B, furthest_B, 0)
    lift_B = torch.where(is_far_B, _EXPM1_LIMIT, torch.zeros_like(p_B))
    exponent_BT = torch.addcmul(
        lift_B.unsqueeze(-1), deviation_BT.sub_(offset_B.unsqueeze(-1)), p_B.unsqueeze(-1)
    )
    mean_expm1_B = exponent_BT.expm1_().sum(-1) / count_B
    return mean_B + offset_B + (torch.log1p(mean_expm1_B) - lift_B) / p_B


def log_power_mean(log_ratio: Tensor, mask: Tensor, p: float | Tensor) -> Tensor:
    """Logarithm of the masked power mean of order ``p`` of the ratios ``exp(log_ratio)``.

    ``log rho_p = (1/p) log mean_t exp(p * log_ratio_t)`` over the tokens where ``mask`` is set;
    the mean of ``log_ratio`` at ``p = 0``, its maximum and minimum at ``p = +inf`` and ``-inf``.
    The gradient with respect to ``log_ratio`` is :func:`token_weights`, for every order.

    **Source**: Eq. 1 and Eq. 18 (value), Eq. 3 and Eq. 8 (gradient).

    Args:
        log_ratio: (B, T) floating point; log importance ratios in nats. Values where ``mask`` is
            not set are ignored, whatever they are; where it is set they must be finite. bfloat16
            and float16 are worked on in float32.
        mask: (B, T) bool or 0/1; the response tokens.
        p: the order, one number or a (B,) tensor; any value in [-inf, +inf]. No gradient flows
            into it.

    Returns:
        (B,) in the dtype of ``log_ratio``, at least float32; exactly 0, with zero gradient, for a
        row without tokens.

    Raises:
        ValueError: if shapes do not fit or an order is NaN; those in a tensor on a GPU are not
            looked at, and NaN there gives NaN.
    """
    mask_BT = as_mask(log_ratio, mask)
    return _log_power_mean(log_ratio, None, mask_BT, p, None).log_rho


class LogPowerMean(NamedTuple):
    """All (B,)."""

    log_rho: Tensor
    """Log of the power mean, nats; carries the gradient."""
    mean_log_ratio: Tensor
    """Plain mean of the log-ratios before any bound, nats, without gradient."""
    held_high: Tensor
    """Share of the tokens held at their upper bound, in [0, 1], without gradient."""
    held_low: Tensor
    """Share of the tokens held at their lower bound, in [0, 1], without gradient."""


class TokenBounds(NamedTuple):
    """Range outside of which a token's log-ratio is held, and its gradient is 0; both (B,)."""

    lower: Tensor
    """Nats; -inf for no bound."""
    upper: Tensor
    """Nats; +inf for no bound."""


def log_power_mean_of_ratio(
    log_prob: Tensor,
    old_log_prob: Tensor,
    mask: Tensor,
    p: float | Tensor,
    bounds: TokenBounds | None = None,
) -> LogPowerMean:
    """:func:`log_power_mean` of ``log_prob - old_log_prob``, without storing the difference.

    Nothing of size (B, T) is kept for the backward pass but the inputs themselves (and the mask as
    bool, if it is not): it computes the closed form ``d log rho / d log_prob_t = W_t`` (0 for a
    token held by ``bounds``) from them, on a CPU block by block. It can be differentiated once,
    and not by ``torch.func``.

    **Source**: Eq. 1 and Eq. 8; with bounds the clipped means C and D of Eq. 11 and their
    gradient, Eq. 13.

    Args:
        log_prob: (B, T) nats; carries the gradient.
        old_log_prob: (B, T) nats; a constant.
        mask: (B, T) bool or 0/1.
        p: one number or (B,), in [-inf, +inf].
        bounds: range of each token's log-ratio, with 0 inside; None for none.

    Returns:
        Log power mean and mean log-ratio; 0 for a row without tokens.

    Raises:
        ValueError: as :func:`log_power_mean`.
    """
    mask_BT = as_mask(log_prob, mask)
    check_old_log_prob(log_prob, old_log_prob)
    return _log_power_mean(log_prob, old_log_prob, mask_BT, p, bounds)


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
        (B, T), without gradient, at least float32; each row sums to 1, a row without tokens is
        all 0.

    Raises:
        ValueError: if shapes do not fit or an order is NaN; those in a tensor on a GPU are not
            looked at, and NaN there gives NaN.
    """
    mask_BT = as_mask(log_ratio, mask)
    order = _Order.of(p, log_ratio)
    ones_B = torch.ones_like(order.p_B)
    return _gradient(log_ratio.detach(), None, mask_BT, ones_B, order, None)


def hold(log_ratio_BT: Tensor, bounds: TokenBounds | None) -> Tensor:
    """Log-ratios within ``bounds``; unchanged where there are none.

    Args:
        log_ratio_BT: (B, T) nats.
        bounds: per response.

    Returns:
        (B, T).
    """
    if bounds is None:
        return log_ratio_BT
    return log_ratio_BT.clamp(bounds.lower.unsqueeze(-1), bounds.upper.unsqueeze(-1))


def as_mask(values: Tensor, mask: Tensor) -> Tensor:
    """``mask`` as bool, checked against the (B, T) tensor it belongs to.

    Raises:
        ValueError: if the shapes differ, are not (B, T), or T is 0.
    """
    if values.ndim != 2 or mask.shape != values.shape:
        raise ValueError(
            f"log_ratio {tuple(values.shape)}, mask {tuple(mask.shape)}: both must be (B, T)"
        )
    if values.shape[1] == 0:
        raise ValueError("log_ratio: T is 0; give at least one token position")
    return mask if mask.dtype == torch.bool else mask != 0


def check_old_log_prob(log_prob: Tensor, old_log_prob: Tensor) -> None:
    """Both must have one shape.

    Raises:
        ValueError: if they have not.
    """
    if old_log_prob.shape != log_prob.shape:
        raise ValueError(
            f"old_log_prob: shape {tuple(old_log_prob.shape)}; give {tuple(log_prob.shape)}"
        )


def check_orders(p: float | Tensor, num_rows: int) -> None:
    """One number that is not NaN, or as many orders as rows, whose values are not looked at.

    Raises:
        ValueError: if they are something else.
    """
    if isinstance(p, Tensor):
        if p.shape not in ((), (num_rows,)):
            raise ValueError(f"p: shape {tuple(p.shape)}; give one number or ({num_rows},)")
    elif math.isnan(p):
        raise ValueError("p: NaN; give orders in [-inf, +inf]")


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of the loss for inputs of ``dtype``: float32 for half precision, else the same."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


class _Order(NamedTuple):
    """p for each row, and what the passes need to know about it before they start."""

    p_B: Tensor
    is_zero: bool
    """Every order is 0: no exponential is needed."""
    is_large: bool
    """Some order is infinite, or so large that the extreme of a row is needed to every digit."""

    @staticmethod
    def of(p: float | Tensor, values: Tensor) -> _Order:
        num_rows = values.shape[0]
        check_orders(p, num_rows)
        dtype, device = compute_dtype(values.dtype), values.device
        if isinstance(p, Tensor):
            order = p.detach().to(device, dtype).expand(num_rows)
        else:
            # Filled in on the device: a number that is sent there would be waited for.
            order = torch.full((num_rows,), p, dtype=dtype, device=device)
        # Denormal orders are 0 to every digit of the result.
        order = torch.where(order.abs() <= torch.finfo(order.dtype).tiny, 0, order)
        if isinstance(p, Tensor) and device.type != "cpu":
            # Looking at them would be to wait for the device: what holds for all is done.
            return _Order(order, is_zero=False, is_large=True)
        numbers = order if isinstance(p, Tensor) else torch.tensor([p], dtype=torch.float64)
        if torch.isnan(numbers).any():
            raise ValueError("p: NaN; give orders in [-inf, +inf]")
        return _Order(
            order,
            is_zero=bool((numbers == 0).all()),
            is_large=bool((numbers.abs() > LARGE_ORDER).any()),
        )

    def rows(self, block: slice) -> _Order:
        return self._replace(p_B=self.p_B[block])


def _log_power_mean(*arguments: Any) -> LogPowerMean:
    return LogPowerMean(*_LogPowerMean.apply(*arguments))


class _LogPowerMean(torch.autograd.Function):
    """Value in log space; the backward pass is the closed form, recomputed from the inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        log_prob: Tensor,
        old_log_prob: Tensor | None,
        mask_BT: Tensor,
        p: float | Tensor,
        bounds: TokenBounds | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        order = _Order.of(p, log_prob)
        value_B, mean_B, high_B, low_B = (torch.empty_like(order.p_B) for _ in range(4))
        for block in row_blocks(log_prob):
            value_B[block], mean_B[block], high_B[block], low_B[block] = _value(
                log_prob[block],
                None if old_log_prob is None else old_log_prob[block],
                mask_BT[block],
                order.rows(block),
                _rows(bounds, block),
            )
        ctx.save_for_backward(log_prob, old_log_prob, mask_BT)
        ctx.order, ctx.bounds = order, bounds
        ctx.mark_non_differentiable(mean_B, high_B, low_B)
        return value_B, mean_B, high_B, low_B

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_B: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        log_prob, old_log_prob, mask_BT = ctx.saved_tensors
        gradient_BT = torch.empty_like(log_prob)
        for block in row_blocks(log_prob):
            gradient_BT[block] = _gradient(
                log_prob[block],
                None if old_log_prob is None else old_log_prob[block],
                mask_BT[block],
                grad_B[block],
                ctx.order.rows(block),
                _rows(ctx.bounds, block),
            )
        return gradient_BT, None, None, None, None


def _rows(bounds: TokenBounds | None, block: slice) -> TokenBounds | None:
    return None if bounds is None else TokenBounds(bounds.lower[block], bounds.upper[block])


def _log_ratio(log_prob: Tensor, old_log_prob: Tensor | None, mask_BT: Tensor) -> Tensor:
    """A new (B, T) tensor: the log-ratios, 0 in the padding."""
    dtype = compute_dtype(log_prob.dtype)
    log_ratio_BT = log_prob.to(dtype)
    if old_log_prob is not None:
        log_ratio_BT = log_ratio_BT - old_log_prob.to(dtype)
    # Also removes NaN and inf there. torch.where is about twice as fast as masked_fill_ on a CPU.
    return torch.where(mask_BT, log_ratio_BT, 0)


def _value(
    log_prob: Tensor,
    old_log_prob: Tensor | None,
    mask_BT: Tensor,
    order: _Order,
    bounds: TokenBounds | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of :class:`LogPowerMean`."""
    log_ratio_BT = _log_ratio(log_prob, old_log_prob, mask_BT)
    count_B = mask_BT.sum(-1).clamp(min=1)
    mean_B = free_mean_B = log_ratio_BT.sum(-1) / count_B
    high_B = low_B = torch.zeros_like(mean_B)
    if bounds is not None:
        lower_B1, upper_B1 = bounds.lower.unsqueeze(-1), bounds.upper.unsqueeze(-1)
        # The 0 in the padding lies inside the bounds.
        high_B = (log_ratio_BT > upper_B1).sum(-1) / count_B.to(mean_B.dtype)
        low_B = (log_ratio_BT < lower_B1).sum(-1) / count_B.to(mean_B.dtype)
        log_ratio_BT.clamp_(lower_B1, upper_B1)
        mean_B = log_ratio_BT.sum(-1) / count_B
    # An infinite log-ratio breaks its response at every order, as NaN does.
    mean_B = torch.where(mean_B.isfinite(), mean_B, math.nan)
    if order.is_zero:
        return mean_B, free_mean_B, high_B, low_B
    is_ordinary_B = order.p_B != 0
    if order.is_large:
        large_B, value_large_B = value_of_large_order(log_ratio_BT, mask_BT, order.p_B)
        is_ordinary_B &= ~large_B
    p_B = torch.where(is_ordinary_B, order.p_B, 1)
    value_B = _around_mean(log_ratio_BT, mask_BT, p_B, mean_B, count_B)
    value_B = torch.where(order.p_B == 0, mean_B, value_B)
    if order.is_large:
        value_B = torch.where(large_B & mean_B.isfinite(), value_large_B, value_B)
    return value_B, free_mean_B, high_B, low_B


def _gradient(
    log_prob: Tensor,
    old_log_prob: Tensor | None,
    mask_BT: Tensor,
    grad_B: Tensor,
    order: _Order,
    bounds: TokenBounds | None,
) -> Tensor:
    """``grad * W``, 0 for tokens held by a bound; (B, T)."""
    log_ratio_BT = _log_ratio(log_prob, old_log_prob, mask_BT)
    if bounds is not None:
        free_BT = log_ratio_BT
        log_ratio_BT = hold(free_BT, bounds)
        held_BT = log_ratio_BT != free_BT
    if order.is_zero:
        weight_BT = log_ratio_BT.copy_(mask_BT)
    else:
        weight_BT = _unnormalised_weights(log_ratio_BT, mask_BT, order)
    total_B = weight_BT.sum(-1)
    if bounds is not None:
        weight_BT = torch.where(held_BT, 0, weight_BT)
    return weight_BT.mul_((grad_B / torch.where(total_B > 0, total_B, 1)).unsqueeze(-1))


def _unnormalised_weights(log_ratio_BT: Tensor, mask_BT: Tensor, order: _Order) -> Tensor:
    """``exp(p (log_ratio - extreme))``, at most 1, 0 in the padding; overwrites its input.

    Subtracted before it is multiplied: the largest weights are exact for any order.
    """
    sign_B = torch.where(order.p_B < 0, -1.0, torch.ones_like(order.p_B))
    signed_BT = torch.where(mask_BT, log_ratio_BT.mul_(sign_B.unsqueeze(-1)), -math.inf)
    extreme_B = signed_BT.amax(-1)
    distance_BT = signed_BT.sub_(torch.where(extreme_B == -math.inf, 0, extreme_B).unsqueeze(-1))
    # An order of 0 gives exp(0) for tokens and exp(-inf) for the padding, like every other.
    size_B = order.p_B.abs().clamp(min=torch.finfo(order.p_B.dtype).tiny)
    if order.is_large:
        infinite_B = torch.isinf(size_B)
        distance_BT.masked_fill_(infinite_B.unsqueeze(-1) & (distance_BT != 0), -math.inf)
        size_B = torch.where(infinite_B, 1, size_B)
    return distance_BT.mul_(size_B.unsqueeze(-1)).exp_()
