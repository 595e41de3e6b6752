"""Rules for p: pure functions from a round's statistics to a proposed order.

In the derivations ``sigma`` is the spread of a response's token log-ratios, and K, W, rho are those
of docs/theory.md. docs/control_of_p.md shows how to write a rule of one's own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import pairwise
from typing import Any, ClassVar

from holderpo.control.fields import check_number
from holderpo.control.schedule import Schedule, check_schedule, is_schedule

# A loss of ESS is measured to about 1e-7, the rounding of float32: below this it is mostly that.
_MIN_ESS_LOSS = 1e-4
# -ln(1 - |x|) is steep beyond, and a single token of a long response carries the gradient there.
_MAX_ESS_LOSS = 0.99
_MIN_ORDER = 1e-2
_MIN_SPREAD = 1e-6
# Second moments that differ by less over the whole grid say nothing about p.
_MIN_LOG_RANGE = 1e-6
# Orders of a grid, each of which is measured in every update.
_MAX_GRID = 201

Quantities = tuple[float, ...]

# Of the advantage; where a rule for each sign stands.
SIDES = ("positive", "negative")


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


@dataclass(frozen=True, kw_only=True)
class FeedbackRule(ABC):
    """p from what the rounds before were like; the controller smooths, limits and bounds it.

    A rule of one's own is a subclass, a frozen dataclass too, whose fields are its settings.
    """

    start: float
    """Order until the first usable statistics, within the bounds."""
    max_change: float = 0.5
    """Largest change of p from one round to the next, > 0."""
    smoothing: float = 0.5
    """Weight of the newest round in the running mean of what the rule measures, in (0, 1]."""

    # Smallest and largest order ever handed out; fields of a rule that has bounds.
    low = -math.inf
    high = math.inf

    reads: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields of :class:`RoundStatistics` without which the rule is blind."""

    def __post_init__(self) -> None:
        """Check the fields that all rules have."""
        bounds = {setting.name for setting in fields(self)} & {"low", "high"}
        for name in bounds:
            check_number(self, name)
        if not self.low < self.high:
            raise ValueError(f"high: {self.high}; give a finite number above {self.low:g}")
        check_number(self, "start", at_least=self.low, at_most=self.high)
        check_number(self, "max_change", above=0)
        check_number(self, "smoothing", above=0, at_most=1)
        known = [statistic.name for statistic in fields(RoundStatistics)]
        if unknown := sorted(self.reads - {*known}):
            raise ValueError(f"reads: {', '.join(unknown)}; give names of {', '.join(known)}")

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Orders at which it needs the second moment; none unless a rule says so."""
        return ()

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules among its settings, by field."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        return {name: value for name, value in values.items() if is_schedule(value)}

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """What the rule asks for and a run cannot do, as ``field ...``; nothing by default.

        Args:
            num_rounds: rollout rounds of the run.
            num_updates: optimiser steps per rollout round.
        """
        yield from ()

    @abstractmethod
    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """What is read off a round in which the order was ``p``; None if it says nothing."""

    @abstractmethod
    def propose(self, quantities: Quantities, step: int) -> float:
        """The order for the round after ``step`` completed ones, before bounds and limits.

        Args:
            quantities: running means of what :meth:`measure` has returned.
            step: rollout rounds completed by then.
        """


@dataclass(frozen=True, kw_only=True)
class EssSetPoint(FeedbackRule):
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
    """Signed loss of ESS, within +-0.99."""
    low: float = -4.0
    """Smallest order ever handed out."""
    high: float = 4.0
    """Largest order ever handed out."""

    reads = frozenset({"ess_frac"})

    def __post_init__(self) -> None:
        """The set-point is a schedule."""
        super().__post_init__()
        check_schedule(self, "set_point")

    def for_run(self, num_rounds: int) -> EssSetPoint:
        """Refuse a set-point that leaves its range in one of the rounds."""
        for step in range(num_rounds):
            if not abs(self.set_point.at(step)) <= _MAX_ESS_LOSS:
                raise ValueError(
                    f"set_point: {self.set_point.at(step):g} in round {step + 1}; a signed loss of "
                    f"ESS is at least {-_MAX_ESS_LOSS:g} and at most {_MAX_ESS_LOSS:g}"
                )
        return self

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """A set-point that the mean over a round cannot reach."""
        # A round's first update is on-policy and loses none.
        reachable = 1 - 1 / num_updates
        largest = max(abs(self.set_point.at(step)) for step in range(num_rounds))
        if largest >= reachable > 0:
            yield (
                f"set_point is out of reach: it asks for a loss of ESS of {largest:g}, the mean "
                f"over {num_updates} updates of a round stays below {reachable:g}; p will go to a "
                "bound"
            )

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
        loss = self.set_point.at(step)
        size = math.sqrt(-math.log1p(-abs(loss))) * math.exp(-quantities[0])
        return math.copysign(size, loss) if loss else 0.0


@dataclass(frozen=True, kw_only=True)
class VarianceBudget(FeedbackRule):
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

    low: float = -2.0
    """Smallest order ever handed out."""
    high: float = 2.0
    """Largest order ever handed out."""
    desired: Schedule
    """The order wanted."""
    budget: float
    """Largest allowed second moment over that at order 0, >= 1."""
    grid_step: float = 0.5
    """Distance of the orders between the bounds at which the second moment is measured, > 0."""

    reads = frozenset({"second_moments"})

    def __post_init__(self) -> None:
        """The grid must not be too large: each order on it is measured in every update."""
        super().__post_init__()
        check_schedule(self, "desired")
        check_number(self, "budget", at_least=1)
        check_number(self, "grid_step", above=0)
        if self._num_orders >= _MAX_GRID + 1:
            raise ValueError(
                f"grid_step: {self.grid_step:g} makes {self._num_orders:.6g} orders, each measured "
                f"in every update; give a larger step (at most {_MAX_GRID} orders)"
            )

    @property
    def _num_orders(self) -> float:
        return (self.high - self.low) / self.grid_step + 1e-9 + 1

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """The grid, rising, with both bounds on it and 0, which the budget refers to."""
        steps = range(int(self._num_orders))
        grid = {round(self.low + place * self.grid_step, 9) for place in steps}
        # Adding 0.0 makes a -0.0 positive.
        return tuple(sorted(0.0 + order for order in grid | {self.low, self.high, 0.0}))

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """``ln V(order) - ln V(0)`` over the grid."""
        moments = [statistics.second_moments.get(order) for order in self.second_moment_orders]
        logs = [math.log(v) for v in moments if v is not None and 0 < v < math.inf]
        if len(logs) < len(self.second_moment_orders) or max(logs) - min(logs) < _MIN_LOG_RANGE:
            return None
        at_zero = logs[self.second_moment_orders.index(0.0)]
        return tuple(log - at_zero for log in logs)

    def propose(self, quantities: Quantities, step: int) -> float:
        """The desired order within floor and cap; the cap wins."""
        floor = _minimiser(self.second_moment_orders, quantities)
        cap = _last_below(self.second_moment_orders, quantities, math.log(self.budget))
        return min(max(self.desired.at(step), floor), cap)


@dataclass(frozen=True, kw_only=True)
class RewardProgress(FeedbackRule):
    """Go from start to end with the reward instead of with the number of rounds.

    ``p = start + (end - start) clamp((R - reward_low) / (reward_high - reward_low), 0, 1)``.

    **Source**: derived: section 3.4 anneals p as learning goes on and measures that by the step,
    which needs the length of the run; the sampled reward R measures it without. (APMPO, arXiv
    2605.04066, also lets a power mean's order follow the batch's mean reward, by an exponential.)
    """

    end: float
    """Order at ``reward_high`` and above; at ``reward_low`` and below it is ``start``."""
    reward_low: float = 0.0
    """Reward at which p begins to move."""
    reward_high: float = 1.0
    """Reward at which it has arrived, > ``reward_low``."""

    reads = frozenset({"reward_mean"})

    def __post_init__(self) -> None:
        """The order stays between start and end: it needs no bounds."""
        super().__post_init__()
        check_number(self, "end")
        check_number(self, "reward_low")
        check_number(self, "reward_high", above=self.reward_low)

    def measure(self, statistics: RoundStatistics, p: float) -> Quantities | None:
        """``(R,)``."""
        return None if statistics.reward_mean is None else (statistics.reward_mean,)

    def propose(self, quantities: Quantities, step: int) -> float:
        """The order at this reward."""
        share = (quantities[0] - self.reward_low) / (self.reward_high - self.reward_low)
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class SignMatched:
    """One rule for responses of positive advantage, another for those of negative.

    **Source**: not in the paper; docs/theory.md, "Sign-matched order".
    """

    positive: Any
    """Any other rule or schedule."""
    negative: Any
    """The same of responses with a negative advantage."""

    def __post_init__(self) -> None:
        """Each side is a rule, and a sign has no signs."""
        for side in SIDES:
            rule = getattr(self, side)
            if not is_dataclass(rule):
                raise ValueError(f"{side}: {rule!r}; give a section, as p@p.{side}=linear does")
            if isinstance(rule, SignMatched):
                raise ValueError(f"{side}: SignMatched; give a rule that is not one by sign")


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
