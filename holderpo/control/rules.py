"""Rules of the adaptive orders: pure functions from a round's statistics to a proposed p.

In the derivations ``sigma`` is the spread of a response's token log-ratios, and K, W, rho are those
of docs/theory.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from holderpo.control.schedule import Schedule

# A loss of ESS is measured to about 1e-7, the rounding of float32: below this it is mostly that.
_MIN_ESS_LOSS = 1e-4
_MIN_ORDER = 1e-2
_MIN_SPREAD = 1e-6
# Second moments that differ by less over the whole grid say nothing about p.
_MIN_LOG_RANGE = 1e-6

Quantities = tuple[float, ...]


@dataclass(frozen=True)
class RoundStatistics:
    """What a round was like, over all its real responses and all its updates.

    Any of it may be None (not measured) or NaN (measured on broken numbers).
    """

    ess_frac: float | None = None
    """Mean over responses of the effective fraction of their tokens, at the order in use."""
    log_ratio_std: float | None = None
    """Mean over responses of the spread of the log-ratios over tokens, nats."""
    reward_mean: float | None = None
    """Mean reward of the sampled responses."""
    second_moments: Mapping[float, float] = field(default_factory=dict)
    """Order to the mean over responses of ``A^2 rho^2 sum_t W_t^2`` there (Theorem 7)."""
    positive: RoundStatistics | None = None
    """The same of responses with a positive advantage."""
    negative: RoundStatistics | None = None
    """The same of responses with a negative advantage."""


class Rule(Protocol):
    """Frozen; the controller smooths what is measured between the two functions."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Orders at which it needs the second moment; () for none."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules among its settings, by field."""

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """What is read off a round in which the order was ``p``; None if it says nothing."""

    def propose(self, quantities: Quantities, step: int) -> float:
        """The order for the round after ``step`` completed ones, before bounds and limits."""


@dataclass(frozen=True)
class EssSetPoint:
    """Keep the mean effective fraction of tokens at a set-point, whatever the spread of the ratios.

    **Source**: derived. For ratios with spread sigma, ``ESS(p) = exp(2 K(p) - K(2p))`` and
    ``K(p) = p mu + p^2 sigma^2 / 2 + ...`` give ``ESS(p) = exp(-p^2 sigma^2)`` up to third order.
    So a round at order p that shows ESS has the effective spread ``sigma = sqrt(-ln ESS) / |p|``,
    and an ESS of ``1 - |x|`` needs ``|p| = sqrt(-ln(1 - |x|)) / sigma``. Only ``p sigma`` counts:
    ratios spread twice as far get half the order.

    The set-point is the *signed loss* x: its sign is that of p, its size the loss of ESS, and 0 is
    order 0. It passes 0 smoothly, where ESS itself would have to turn around at 1.

    Sigma is measured at the order in use, so only near-Gaussian ratios are met in one step. With
    the elasticity ``a = d ln(-ln ESS) / d ln p`` (2 for Gaussian ratios, less for heavy tails and
    for a mixture of spreads) one step, without smoothing, multiplies a small error of ln p by
    ``1 - a / 2``, and with smoothing w by ``1 - w a / 2`` once the estimate has settled: it
    approaches the set-point from one side for a in (0, 2], and converges for a below 4.

    The mean over the round includes the first update, which is exactly on-policy and has ESS 1:
    with U updates, a loss of x over the round is ``x U / (U - 1)`` over the others, and |x| must be
    below ``1 - 1 / U``. The loop takes care of that, since it measures what it steers.

    Where p or the loss is too small to measure, sigma is the mean spread of the log-ratios itself.
    """

    set_point: Schedule
    """Signed loss of ESS, in (-1, 1)."""

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The set-point."""
        return {"set_point": self.set_point}

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """``(ln sigma,)``."""
        ess = statistics.ess_frac
        if ess is not None and abs(p) >= _MIN_ORDER and 0 < ess <= 1 - _MIN_ESS_LOSS:
            return (0.5 * math.log(-math.log(ess)) - math.log(abs(p)),)
        spread = statistics.log_ratio_std
        if spread is not None and _MIN_SPREAD <= spread < math.inf:
            return (math.log(spread),)
        return None

    def propose(self, quantities: Quantities, step: int) -> float:
        """``sign(x) sqrt(-ln(1 - |x|)) / sigma``."""
        loss = self.set_point.value(step)
        size = math.sqrt(-math.log1p(-abs(loss))) * math.exp(-quantities[0])
        return math.copysign(size, loss) if loss else 0.0


@dataclass(frozen=True)
class VarianceBudget:
    """Follow a schedule as far as the gradient's second moment allows.

    **Source**: derived from Theorem 7: with orthogonal token gradients of equal norm the second
    moment of a response's gradient is proportional to ``V(p) = A^2 rho_p^2 sum_t W_t(p)^2``, which
    needs no gradient to measure. V falls as p comes down from +inf, and has its minimum at a
    p* below 0 (about -1/2 for small spreads). Hence two limits on the desired order:

    - cap: the largest order at which V is at most ``budget`` times ``V(0)``;
    - floor: p*. Below it the gradient is noisier again *and* ignores more tokens.

    V is measured on a grid of orders and interpolated in log space: linearly at the cap, by the
    parabola through three neighbours at the minimum. For log-normal ratios ``ln V`` is exactly the
    parabola ``sigma^2 (p + p^2)``, so the floor is exact there.
    """

    desired: Schedule
    """The order wanted."""
    budget: float
    """Largest allowed second moment over that at order 0, >= 1."""
    orders: tuple[float, ...]
    """The grid, rising, with 0 on it."""

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """The grid."""
        return self.orders

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The desired order."""
        return {"desired": self.desired}

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """``ln V(order) - ln V(0)`` over the grid."""
        moments = [statistics.second_moments.get(order) for order in self.orders]
        logs = [math.log(v) for v in moments if v is not None and 0 < v < math.inf]
        if len(logs) < len(self.orders) or max(logs) - min(logs) < _MIN_LOG_RANGE:
            return None
        at_zero = logs[self.orders.index(0.0)]
        return tuple(log - at_zero for log in logs)

    def propose(self, quantities: Quantities, step: int) -> float:
        """The desired order within floor and cap; the cap wins."""
        floor = _minimiser(self.orders, quantities)
        cap = _last_below(self.orders, quantities, math.log(self.budget))
        return min(max(self.desired.value(step), floor), cap)


@dataclass(frozen=True)
class RewardProgress:
    """Go from start to end with the reward instead of with the number of rounds.

    ``p = start + (end - start) clamp((R - reward_low) / (reward_high - reward_low), 0, 1)``.

    **Source**: derived: section 3.4 anneals p as learning goes on and measures that by the step,
    which needs the length of the run; the sampled reward R measures it without. (APMPO, arXiv
    2605.04066, also lets a power mean's order follow the batch's mean reward, by an exponential.)
    """

    start: float
    """Order at ``reward_low`` and below."""
    end: float
    """Order at ``reward_high`` and above."""
    reward_low: float
    """Reward at which p begins to move."""
    reward_high: float
    """Reward at which it has arrived, > ``reward_low``."""

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """None."""
        return {}

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """``(R,)``."""
        return None if statistics.reward_mean is None else (statistics.reward_mean,)

    def propose(self, quantities: Quantities, step: int) -> float:
        """The order at this reward."""
        share = (quantities[0] - self.reward_low) / (self.reward_high - self.reward_low)
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)


def _minimiser(orders: tuple[float, ...], values: Quantities) -> float:
    """Where the parabola through the smallest value and its neighbours is smallest."""
    place = values.index(min(values))
    if place in (0, len(values) - 1):
        return orders[place]
    left, centre, right = orders[place - 1 : place + 2]
    rise_left = (values[place] - values[place - 1]) / (centre - left)
    rise_right = (values[place + 1] - values[place]) / (right - centre)
    # The slope changes linearly from one midpoint to the other; both are of opposite sign, or 0.
    midpoint_left, midpoint_right = (left + centre) / 2, (centre + right) / 2
    if rise_right == rise_left:
        return centre
    share = -rise_left / (rise_right - rise_left)
    return midpoint_left + (midpoint_right - midpoint_left) * share


def _last_below(orders: tuple[float, ...], values: Quantities, limit: float) -> float:
    """The largest order with an interpolated value of at most ``limit``, which one order has."""
    points = list(pairwise(zip(orders, values, strict=True)))
    if values[-1] <= limit:
        return orders[-1]
    for (order, value), (next_order, next_value) in reversed(points):
        if value <= limit < next_value:
            return order + (next_order - order) * (limit - value) / (next_value - value)
    return orders[0]
