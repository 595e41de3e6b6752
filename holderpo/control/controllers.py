"""Controllers: what the trainer asks for a round's order, with its state in the checkpoint.

One class for each way to decide: by the step or the response alone, by feedback, by sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol

from holderpo.control.order import Order, OrderBySign, UniformOrder
from holderpo.control.rules import FeedbackRule, Quantities, RoundStatistics
from holderpo.control.schedule import Schedule, is_schedule
from holderpo.metrics import P


class Controller(Protocol):
    """Owned by the driver. ``step`` counts completed rollout rounds."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of the fields of :class:`RoundStatistics` without which it is blind."""

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Orders at which ``RoundStatistics.second_moments`` is needed; () for none."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Every schedule it follows, by the name of its section in the configuration."""

    @property
    def rules(self) -> Mapping[str, str]:
        """Name of every rule that is no schedule, by its section in the configuration."""

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """What is asked for and a run cannot do.

        Args:
            num_rounds: rollout rounds of the run.
            num_updates: optimiser steps per rollout round.
        """

    def order(self, step: int) -> Order:
        """The order of the round after ``step`` completed ones, for the actors."""

    def value(self, step: int) -> Mapping[str, float]:
        """That round's order by metric, which the actors must use; none where responses differ."""

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Learn from the round that ``order(step)`` was for; call it once per round.

        Statistics that are missing or NaN never raise: the order then stays as it is.
        """

    def state_dict(self) -> dict[str, Any]:
        """JSON-serialisable state, saved with the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; raises ValueError if it belongs to another controller."""


class OpenLoopController:
    """Nothing is learnt from the rounds: p is a schedule's, or each response's own."""

    reads: frozenset[str] = frozenset()
    second_moment_orders: tuple[float, ...] = ()

    def __init__(self, source: Any, field: str = "p") -> None:
        """Follow a schedule, or hand out one order for all rounds.

        Args:
            source: a schedule or an order; frozen.
            field: where it stands in the configuration, for errors.
        """
        self.source = source
        self.field = field
        self.schedules: Mapping[str, Schedule] = {field: source} if is_schedule(source) else {}
        self.rules = {} if self.schedules else {field: type(source).__name__}

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """None."""
        yield from ()

    def order(self, step: int) -> Order:
        """The schedule's value at ``step``, or the one order."""
        return UniformOrder(self.source.at(step)) if self.schedules else self.source

    def value(self, step: int) -> Mapping[str, float]:
        """The schedule's value at ``step``; nothing where only the actors know the orders."""
        return {P: self.source.at(step)} if self.schedules else {}

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """The kind and the fields of what it follows."""
        return {"configuration": _describe(self.source)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError if the checkpoint was written under another one: p would jump."""
        _check_configuration(self.field, state, _describe(self.source))


class FeedbackController:
    """p follows a rule on measured statistics: smoothed, bounded, limited in its rate of change."""

    def __init__(self, rule: FeedbackRule, field: str = "p") -> None:
        """Start at the rule's ``start``.

        Args:
            rule: proposes p.
            field: where it stands in the configuration, for errors.
        """
        self.rule = rule
        self.field = field
        self._p = float(rule.start)
        self._smoothed: Quantities | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Those of the rule."""
        return self.rule.reads

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Those of the rule."""
        return self.rule.second_moment_orders

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of the rule."""
        return {f"{self.field}.{name}": s for name, s in self.rule.schedules.items()}

    @property
    def rules(self) -> Mapping[str, str]:
        """The rule."""
        return {self.field: type(self.rule).__name__}

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """Those of the rule."""
        for warning in self.rule.warnings(num_rounds, num_updates):
            yield f"{self.field}.{warning}"

    def order(self, step: int) -> Order:
        """The present order; ``step`` was taken into account by the last update."""
        return UniformOrder(self._p)

    def value(self, step: int) -> Mapping[str, float]:
        """The present order."""
        return {P: self._p}

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Move p towards what the rule proposes for the next round.

        Args:
            step: the round the statistics are of, as it was given to :meth:`order`.
            statistics: of that round; whatever of them is missing or NaN leaves p as it is.
        """
        rule = self.rule
        quantities = rule.measure(statistics, self._p)
        if quantities is None or not all(math.isfinite(quantity) for quantity in quantities):
            return
        measured = tuple(float(quantity) for quantity in quantities)
        before = measured if self._smoothed is None else self._smoothed
        smoothed = tuple(
            old + rule.smoothing * (new - old) for old, new in zip(before, measured, strict=True)
        )
        proposed = float(rule.propose(smoothed, step + 1))
        if not math.isfinite(proposed):
            return
        self._smoothed = smoothed
        change = min(max(proposed - self._p, -rule.max_change), rule.max_change)
        self._p = min(max(self._p + change, float(rule.low)), float(rule.high))

    def state_dict(self) -> dict[str, Any]:
        """The configuration, p, and the running means."""
        smoothed = None if self._smoothed is None else list(self._smoothed)
        return {"configuration": _describe(self.rule), "p": self._p, "smoothed": smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore p and the running means.

        Raises:
            ValueError: if they were written under another configuration, or are not numbers.
        """
        _check_configuration(self.field, state, _describe(self.rule))
        p, smoothed = state.get("p"), state.get("smoothed")
        is_number = isinstance(p, float) and self.rule.low <= p <= self.rule.high
        if not is_number or not (smoothed is None or _are_finite(smoothed)):
            raise ValueError(
                f"{self.field}: the checkpoint's order is {p!r}, its running means {smoothed!r}; "
                "its controller's file is damaged, resume from an earlier checkpoint "
                "(trainer.resume_mode=resume_path)"
            )
        self._p = state["p"]
        self._smoothed = None if smoothed is None else tuple(smoothed)


class SignMatchedController:
    """One controller for responses of positive advantage, another for those of negative."""

    def __init__(self, sides: Mapping[str, Controller], field: str = "p") -> None:
        """Keep both.

        Args:
            sides: controllers of ``positive`` and ``negative``.
            field: where they stand in the configuration, for errors.
        """
        self.sides = sides
        self.field = field

    @property
    def reads(self) -> frozenset[str]:
        """What either side reads."""
        return frozenset().union(*(side.reads for side in self.sides.values()))

    @property
    def second_moment_orders(self) -> tuple[float, ...]:
        """Those that either side needs."""
        return tuple(sorted({p for side in self.sides.values() for p in side.second_moment_orders}))

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of both sides."""
        return {name: s for side in self.sides.values() for name, s in side.schedules.items()}

    @property
    def rules(self) -> Mapping[str, str]:
        """Those of both sides."""
        return {name: rule for side in self.sides.values() for name, rule in side.rules.items()}

    def warnings(self, num_rounds: int, num_updates: int) -> Iterator[str]:
        """Those of both sides."""
        for side in self.sides.values():
            yield from side.warnings(num_rounds, num_updates)

    def order(self, step: int) -> Order:
        """Each side's order."""
        return OrderBySign(**{name: side.order(step) for name, side in self.sides.items()})

    def value(self, step: int) -> Mapping[str, float]:
        """Each side's, under names that end in the side."""
        return {
            f"{metric}_{name}": value
            for name, side in self.sides.items()
            for metric, value in side.value(step).items()
        }

    def update(self, step: int, statistics: RoundStatistics) -> None:
        """Each side learns from its own responses, and the reward of all of them.

        Among responses of one sign the mean reward says how groups are composed, not how far
        learning has come.
        """
        for name, side in self.sides.items():
            own = getattr(statistics, name) or RoundStatistics()
            side.update(step, replace(own, reward_mean=statistics.reward_mean))

    def state_dict(self) -> dict[str, Any]:
        """Both sides' states."""
        return {name: side.state_dict() for name, side in self.sides.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both sides.

        Raises:
            ValueError: if a side was written under another configuration, or there are no sides.
        """
        if not isinstance(state, Mapping) or not state.keys() >= self.sides.keys():
            # Refused by its configuration: a side's own state would otherwise be taken for both.
            here = {name: side.state_dict()["configuration"] for name, side in self.sides.items()}
            _check_configuration(self.field, state, here)
        for name, side in self.sides.items():
            side.load_state_dict(state[name])


def _are_finite(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, float) and math.isfinite(value) for value in values
    )


def _describe(settings: Any) -> Any:
    """A frozen dataclass as JSON has it, the class's name included."""
    if is_dataclass(settings):
        names = [field.name for field in fields(settings)]
        values = {name: _describe(getattr(settings, name)) for name in names}
        return {"kind": type(settings).__name__, **values}
    return list(settings) if isinstance(settings, tuple) else settings


def _check_configuration(field: str, state: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{field}: the checkpoint has {state!r} of its controller; the file is damaged, resume "
            "from an earlier checkpoint (trainer.resume_mode=resume_path)"
        )
    written = state.get("configuration", state)
    if written == here:
        return
    old, new = _flat(written if isinstance(written, Mapping) else {}), _flat(here)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    was, now = ({name: side[name] for name in names if name in side} for side in (old, new))
    raise ValueError(
        f"{field}: the checkpoint was written with {was}, this run has {now}; resume with the same "
        "p and trainer.total_training_steps (or p.steps set to the checkpoint's) and the version "
        "of this recipe that wrote it, or start anew with trainer.resume_mode=disable"
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
