"""The order of one round, as the driver hands it to the actors: one number or one per response.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from holderpo.control.fields import check_number
from holderpo.number_kinds import is_number
from holderpo.objective import order_of_sign
from holderpo.power_mean import as_mask, compute_dtype

# Halvings of the range of orders: what is left is below the resolution of float32.
_NUM_HALVINGS = 30
# Rows whose range of concentrations is narrower have one ratio, up to rounding in float64.
_NO_SPREAD = 1e-12


class Order(Protocol):
    """What a round's order is; frozen and picklable, since it travels with the batch.

    Numbers ``low`` and ``high``, where it has them, are the smallest and the largest order that it
    ever gives a response: a run in which a response gets another one stops.
    """

    def for_rows(
        self,
        log_ratio_BT: Tensor,
        mask_BT: Tensor,
        advantage_B: Tensor,
        *,
        clip_low: float,
        clip_high: float,
    ) -> float | Tensor:
        """The order of each response.

        Args:
            log_ratio_BT: (B, T) log importance ratios, nats; anything where the mask is not set.
            mask_BT: (B, T) bool or 0/1; the response tokens.
            advantage_B: (B,) advantages.
            clip_low: distance of the clip range's lower end from 1, in (0, 1).
            clip_high: distance of its upper end from 1, > 0.

        Returns:
            One number, or (B,) in the dtype the loss is computed in; without gradient.
        """


@dataclass(frozen=True)
class UniformOrder:
    """The same order for every response."""

    p: float
    """The order."""

    def for_rows(
        self,
        log_ratio_BT: Tensor,
        mask_BT: Tensor,
        advantage_B: Tensor,
        *,
        clip_low: float,
        clip_high: float,
    ) -> float | Tensor:
        """The order; see :class:`Order`."""
        return self.p


@dataclass(frozen=True)
class OrderBySign:
    """One order for good responses, another for bad ones.

    **Source**: not in the paper; docs/theory.md, "Sign-matched order".
    """

    positive: Order
    """Of responses with an advantage of 0 or more; at 0 the loss is 0 whatever the order."""
    negative: Order
    """Of responses with a negative advantage."""

    def for_rows(
        self,
        log_ratio_BT: Tensor,
        mask_BT: Tensor,
        advantage_B: Tensor,
        *,
        clip_low: float,
        clip_high: float,
    ) -> float | Tensor:
        """One number if both sides have the same, else (B,); see :class:`Order`."""
        positive, negative = (
            order.for_rows(
                log_ratio_BT, mask_BT, advantage_B, clip_low=clip_low, clip_high=clip_high
            )
            for order in (self.positive, self.negative)
        )
        are_numbers = not isinstance(positive, Tensor) and not isinstance(negative, Tensor)
        if are_numbers and positive == negative:
            return positive
        advantage_B = advantage_B.to(compute_dtype(log_ratio_BT.dtype))
        return order_of_sign(advantage_B, positive, negative)


@dataclass(frozen=True)
class ClipAwareOrder:
    """Each response's order from the share of its tokens that left the clip range.

    With ``f`` that share and ``ESS(p) = 1 / (n sum_t W_t(p)^2)`` the effective fraction of the
    response's tokens, p solves

        ``ESS(p) = ESS(high) + min(1, f / clip_frac_max) (ESS(low) - ESS(high))``:

    ``high`` while no token has left, ``low`` from ``clip_frac_max`` on. ``low`` and ``high`` lie on
    one side of 0, where ESS is monotone: in the notation of docs/theory.md, section 1,
    ``log ESS(p) = 2 K(p) - K(2p)``, whose slope ``2 (mu(p) - mu(2p))`` has the opposite sign of p.
    So there is one solution unless all ratios are equal; then p has no effect, and is ``high``.

    **Source**: the idea, a response's order from its clipped fraction by way of a target ESS, is
    PMPO's (arXiv 2601.22521). Its formula for the target was not available; the one above, linear
    in the clipped share, is ours.
    """

    clip_frac_max: float
    """Share of tokens outside the clip range from which on the order is ``low``, in (0, 1]."""
    low: float = 0.0
    """Order of a response that has moved far."""
    high: float = 1.0
    """Order of a response with every ratio inside the clip range."""

    def __post_init__(self) -> None:
        """Both orders must lie on one side of 0."""
        check_number(self, "clip_frac_max", above=0, at_most=1)
        check_number(self, "low")
        check_number(self, "high", above=self.low)
        if self.low * self.high < 0:
            raise ValueError(
                f"low: {self.low:g} with high {self.high:g}; give both on one side of 0, where a "
                "concentration of the weights belongs to one order"
            )

    @torch.no_grad()
    def for_rows(
        self,
        log_ratio_BT: Tensor,
        mask_BT: Tensor,
        advantage_B: Tensor,
        *,
        clip_low: float,
        clip_high: float,
    ) -> float | Tensor:
        """(B,); ``high`` for rows without tokens, with one token or equal ratios."""
        dtype = compute_dtype(log_ratio_BT.dtype)
        mask_BT = as_mask(log_ratio_BT, mask_BT)
        # In float64: 1 - ESS is about (p spread)^2, lost in float32 for spreads of 1e-4.
        log_ratio_BT = log_ratio_BT.double().masked_fill(~mask_BT, 0)
        count_B = mask_BT.sum(-1).clamp(min=1)
        outside_BT = (log_ratio_BT > math.log1p(clip_high)) | (log_ratio_BT < math.log1p(-clip_low))
        share_B = (outside_BT & mask_BT).sum(-1) / count_B / self.clip_frac_max

        low_B = torch.full_like(count_B, self.low, dtype=torch.float64)
        high_B = torch.full_like(low_B, self.high)
        ess_low_B = _ess_frac(log_ratio_BT, mask_BT, count_B, low_B)
        ess_high_B = _ess_frac(log_ratio_BT, mask_BT, count_B, high_B)
        target_B = ess_high_B + share_B.clamp(max=1) * (ess_low_B - ess_high_B)
        # ESS falls from low to high on the positive side and rises on the negative one.
        falls = abs(self.high) > abs(self.low)
        below_B, above_B = low_B, high_B
        for _ in range(_NUM_HALVINGS):
            middle_B = (below_B + above_B) / 2
            ess_B = _ess_frac(log_ratio_BT, mask_BT, count_B, middle_B)
            is_beyond_B = ess_B < target_B if falls else ess_B > target_B
            above_B = torch.where(is_beyond_B, middle_B, above_B)
            below_B = torch.where(is_beyond_B, below_B, middle_B)
        p_B = torch.where(share_B >= 1, low_B, (below_B + above_B) / 2)
        # Written so that NaN, from a broken log-ratio, also gives a number.
        has_spread_B = (ess_low_B - ess_high_B).abs() > _NO_SPREAD
        return torch.where((share_B > 0) & has_spread_B, p_B, high_B).to(dtype)


def order_numbers(order: Order) -> float | tuple[float, float] | None:
    """An order that looks at nothing but the sign of the advantage, in numbers.

    Args:
        order: of a round.

    Returns:
        One number, or that of responses with a positive or no advantage and that of those with a
        negative one; None for an order that looks at the responses.
    """
    # Not of a class derived from one of these, which may look at the responses.
    if type(order) is UniformOrder:
        return order.p
    if type(order) is OrderBySign:
        positive, negative = (order_numbers(side) for side in (order.positive, order.negative))
        if isinstance(positive, int | float) and isinstance(negative, int | float):
            return positive if positive == negative else (positive, negative)
    return None


def order_range(order: Order, side: str) -> tuple[float, float]:
    """Smallest and largest order that an order may give the responses of one side.

    Args:
        order: of a round.
        side: ``negative`` for responses with a negative advantage, ``positive`` for the others.

    Returns:
        Both ends; infinite where an order of one's own declares none.
    """
    if isinstance(order, OrderBySign):
        return order_range(getattr(order, side), side)
    if isinstance(order, UniformOrder):
        return order.p, order.p
    ends = []
    for name, unbounded in (("low", -math.inf), ("high", math.inf)):
        value = getattr(order, name, None)
        ends.append(float(value) if value is not None and is_number(value) else unbounded)
    return ends[0], ends[1]


def _ess_frac(log_ratio_BT: Tensor, mask_BT: Tensor, count_B: Tensor, p_B: Tensor) -> Tensor:
    """``(sum x)^2 / (n sum x^2)`` with ``x = exp(p log_ratio)``, scaled to at most 1; (B,)."""
    exponent_BT = (log_ratio_BT * p_B.unsqueeze(-1)).masked_fill(~mask_BT, -math.inf)
    largest_B1 = exponent_BT.amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).min)
    power_BT = (exponent_BT - largest_B1).exp()
    return power_BT.sum(-1).square() / (count_B * power_BT.square().sum(-1)).clamp(min=1)
