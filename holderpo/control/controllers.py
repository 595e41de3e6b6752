"""Who decides p: one class for each way of doing it, all with one interface.

Each is owned by the driver and saved with every checkpoint; holderpo.control.build builds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

from holderpo.control.order import ClipAwareOrder, Order, OrderBySign, UniformOrder
from holderpo.control.rules import Quantities, RoundStatistics, Rule
from holderpo.control.schedule import Schedule

METRIC = "holder/p"


class Controller(Protocol):
    """What the trainer asks of whatever decides p. ``step`` counts completed rollout rounds."""

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Orders at which ``RoundStatistics.second_moments`` is needed; () for none."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Every schedule it follows, by the name of its section in the configuration."""

    def order(self, step: int) -> Order:
        """The order of the round after ``step`` completed ones, for the actors."""

    def value(self, step: int) -> Mapping[str, float]:
        """What is logged about that round's order; nothing where responses have their own."""

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Learn from the round that ``order(step)`` was for; call it once a round.

        Statistics that are missing or NaN never raise: the order then stays as it is.
        """

    def state_dict(self) -> dict[str, Any]:
        """JSON-serialisable state, saved with the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; raises ValueError if it belongs to another controller."""


class ScheduledOrder:
    """p follows a schedule of the step; nothing to remember but which schedule it was."""

    second_moment_orders: tuple[float, ...] = ()

    def __init__(self, schedule: Schedule, field: str = "p") -> None:
        self.schedule = schedule
        self.field = field

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedule."""
        return {self.field: self.schedule}

    def order(self, step: int) -> Order:
        """The schedule's value at ``step``."""
        return UniformOrder(self.schedule.value(step))

    def value(self, step: int) -> Mapping[str, float]:
        """The schedule's value at ``step``."""
        return {METRIC: self.schedule.value(step)}

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """The schedule's kind and fields."""
        return {"configuration": _describe(self.schedule)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the checkpoint was written under another one: p would jump."""
        _check_configuration(self.field, state, _describe(self.schedule))


class PerSequenceOrder:
    """Every response gets its own order, from its own ratios; nothing to remember."""

    second_moment_orders: tuple[float, ...] = ()

    def __init__(self, order: ClipAwareOrder, field: str = "p") -> None:
        self._order = order
        self.field = field

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """None."""
        return {}

    def order(self, step: int) -> Order:
        """The same rule in every round."""
        return self._order

    def value(self, step: int) -> Mapping[str, float]:
        """Nothing: only the actors know the orders."""
        return {}

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """The rule and its fields."""
        return {"configuration": _describe(self._order)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the checkpoint was written under another rule."""
        _check_configuration(self.field, state, _describe(self._order))


@dataclass(frozen=True)
class AdaptiveSettings:
    """A rule and what keeps it in check."""

    rule: Rule
    """Proposes p from a round's statistics."""
    start: float
    """Order until the first usable statistics, within the bounds."""
    low: float
    """Smallest order ever handed out."""
    high: float
    """Largest order ever handed out."""
    max_change: float = 0.5
    """Largest change of p from one round to the next, > 0."""
    smoothing: float = 0.5
    """Weight of the newest round in the running mean of what the rule measures, in (0, 1]."""


class AdaptiveOrder:
    """p follows a rule on measured statistics: smoothed, bounded, limited in its rate of change."""

    def __init__(self, settings: AdaptiveSettings, field: str = "p") -> None:
        self.settings = settings
        self.field = field
        self._p = settings.start
        self._smoothed: Quantities | None = None

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Those of the rule."""
        return self.settings.rule.second_moment_orders

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of the rule."""
        return {f"{self.field}.{name}": s for name, s in self.settings.rule.schedules.items()}

    def order(self, step: int) -> Order:
        """The present order; ``step`` was taken into account by the last update."""
        return UniformOrder(self._p)

    def value(self, step: int) -> Mapping[str, float]:
        """The present order."""
        return {METRIC: self._p}

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Move p towards what the rule proposes for the next round.

        Args:
            step: the round the statistics are of, as it was given to :meth:`order`.
            statistics: of that round; whatever of them is missing or NaN leaves p as it is.
        """
        settings = self.settings
        measured = settings.rule.measure(statistics, self._p)
        if measured is None or not all(math.isfinite(quantity) for quantity in measured):
            return
        before = measured if self._smoothed is None else self._smoothed
        self._smoothed = tuple(
            old + settings.smoothing * (new - old)
            for old, new in zip(before, measured, strict=True)
        )
        proposed = settings.rule.propose(self._smoothed, step + 1)
        change = min(max(proposed - self._p, -settings.max_change), settings.max_change)
        self._p = min(max(self._p + change, settings.low), settings.high)

    def state_dict(self) -> dict[str, Any]:
        """The configuration, p, and the running means."""
        smoothed = None if self._smoothed is None else list(self._smoothed)
        return {"configuration": _describe(self.settings), "p": self._p, "smoothed": smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore p and the running means.

        Raises:
            ValueError: if they were written under another configuration, or are not numbers.
        """
        _check_configuration(self.field, state, _describe(self.settings))
        p, smoothed = state.get("p"), state.get("smoothed")
        is_number = isinstance(p, float) and self.settings.low <= p <= self.settings.high
        if not is_number or not (smoothed is None or _are_finite(smoothed)):
            raise ValueError(
                f"{self.field}: the checkpoint's order is {p!r}, its running means {smoothed!r}; "
                "its controller's file is damaged, resume from an earlier checkpoint "
                "(trainer.resume_mode=resume_path)"
            )
        self._p = state["p"]
        self._smoothed = None if smoothed is None else tuple(smoothed)


class SignMatchedOrder:
    """One controller for responses of positive advantage, another for those of negative."""

    def __init__(self, positive: Controller, negative: Controller) -> None:
        self.positive = positive
        self.negative = negative

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Those that either side needs."""
        orders = {*self.positive.second_moment_orders, *self.negative.second_moment_orders}
        return tuple(sorted(orders))

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of both sides."""
        return {**self.positive.schedules, **self.negative.schedules}

    def order(self, step: int) -> Order:
        """Each side's order."""
        return OrderBySign(self.positive.order(step), self.negative.order(step))

    def value(self, step: int) -> Mapping[str, float]:
        """Each side's, under names that end in the side."""
        sides = {"positive": self.positive, "negative": self.negative}
        return {
            f"{name}_{side}": value
            for side, controller in sides.items()
            for name, value in controller.value(step).items()
        }

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Each side learns from its own responses, and the reward of all of them.

        Among responses of one sign the mean reward says how groups are composed, not how far
        learning has come.
        """
        for controller, side in (
            (self.positive, statistics.positive),
            (self.negative, statistics.negative),
        ):
            own = replace(side or RoundStatistics(), reward_mean=statistics.reward_mean)
            controller.update(step, own)

    def state_dict(self) -> dict[str, Any]:
        """Both sides' states."""
        return {"positive": self.positive.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both sides.

        Raises:
            ValueError: if a side was written under another configuration, or there are no sides.
        """
        sides = (("positive", self.positive), ("negative", self.negative))
        if not state.keys() >= {"positive", "negative"}:
            # Refused by its configuration: a side's own state would otherwise be taken for both.
            here = {name: controller.state_dict()["configuration"] for name, controller in sides}
            _check_configuration("p", state, here)
        for name, controller in sides:
            controller.load_state_dict(state[name])


def _are_finite(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, float) and math.isfinite(value) for value in values
    )


def _describe(settings: Any) -> Any:
    """A frozen dataclass as JSON has it, the class's name included."""
    if is_dataclass(settings):
        values = {
            field.name: _describe(getattr(settings, field.name)) for field in fields(settings)
        }
        return {"kind": type(settings).__name__, **values}
    return list(settings) if isinstance(settings, tuple) else settings


def _check_configuration(field: str, state: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    written = state.get("configuration", state)
    if written == here:
        return
    old, new = _flat(written if isinstance(written, Mapping) else {}), _flat(here)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    was, now = ({name: side[name] for name in names if name in side} for side in (old, new))
    raise ValueError(
        f"{field}: the checkpoint was written with {was}, this run has {now}; resume with the same "
        "p and trainer.total_training_steps (or p.steps set to the checkpoint's), or start anew "
        "with trainer.resume_mode=disable"
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
