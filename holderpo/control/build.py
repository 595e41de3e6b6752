"""The controller of p, from the settings: every schedule, and the adaptive kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from holderpo.control.controllers import (
    AdaptiveOrder,
    AdaptiveSettings,
    Controller,
    PerSequenceOrder,
    ScheduledOrder,
    SignMatchedOrder,
)
from holderpo.control.order import ClipAwareOrder
from holderpo.control.rules import (
    EssSetPoint,
    RewardProgress,
    Rule,
    VarianceBudget,
)
from holderpo.control.schedule import FIELDS as SCHEDULE_FIELDS
from holderpo.control.schedule import Schedule, build_schedule
from holderpo.control.section import Section

SIGN_MATCHED = "sign_matched"
# Fields of a schedule that are values of it: where a section's range is checked.
_LEVELS = ("value", "start", "end", "warm_up_from", "after")
# -ln(1 - |x|) is steep beyond, and a single token of a long response carries the gradient there.
_MAX_ESS_LOSS = 0.99
_MAX_GRID = 201


def build_controller(
    settings: Mapping[str, Any], *, num_rounds: int, field: str = "p"
) -> Controller:
    """Build a controller from ``{kind: ..., <its fields>}``; null counts as not set.

    Args:
        settings: a schedule (holderpo.control.schedule), or ``kind`` and the fields of

            - ``ess``: ``start``, ``set_point`` (a schedule of the signed loss of ESS); optional
              ``low`` -4, ``high`` 4, ``max_change`` 0.5, ``smoothing`` 0.5;
            - ``variance``: ``start``, ``desired`` (a schedule of p), ``budget``; optional
              ``grid_step`` 0.5, ``low`` -2, ``high`` 2, ``max_change`` 0.5, ``smoothing`` 0.5;
            - ``reward``: ``start``, ``end``; optional ``reward_low`` 0, ``reward_high`` 1,
              ``max_change`` 0.5, ``smoothing`` 0.5;
            - ``clip_aware_ess``: ``clip_frac_max``; optional ``low`` 0, ``high`` 1;
            - ``sign_matched``: ``positive``, ``negative``, each a section of any other kind.
        num_rounds: rollout rounds of the whole run.
        field: where the settings stand in the configuration, for the errors.

    Returns:
        The controller.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    return _build(settings, num_rounds, field, [*SCHEDULE_FIELDS, *_BUILDERS, SIGN_MATCHED])


def _build(
    settings: Mapping[str, Any], num_rounds: int, field: str, kinds: list[str]
) -> Controller:
    section = Section(settings, field)
    kind = section.choice("kind", kinds)
    if kind in SCHEDULE_FIELDS:
        return ScheduledOrder(build_schedule(settings, num_rounds=num_rounds, field=field), field)
    if kind != SIGN_MATCHED:
        builder = _BUILDERS[kind]
        section.require_fields(builder.required, builder.optional)
        return builder.build(section, num_rounds)
    section.require_fields(("positive", "negative"), ())
    one_sided = [name for name in kinds if name != SIGN_MATCHED]
    positive, negative = (
        _build(section.values[side], num_rounds, f"{field}.{side}", one_sided)
        for side in ("positive", "negative")
    )
    return SignMatchedOrder(positive, negative)


def _ess(section: Section, num_rounds: int) -> Controller:
    section.nested("set_point").check_range(_LEVELS, -_MAX_ESS_LOSS, _MAX_ESS_LOSS)
    rule = EssSetPoint(_schedule(section, "set_point", num_rounds))
    return _adaptive(section, rule, *_bounds(section, -4.0, 4.0))


def _variance(section: Section, num_rounds: int) -> Controller:
    low, high = _bounds(section, -2.0, 2.0)
    step = section.number("grid_step", 0.5, above=0)
    num_orders = (high - low) / step + 1e-9 + 1
    if num_orders >= _MAX_GRID + 1:
        raise ValueError(
            f"{section.name}.grid_step: {step:g} makes {num_orders:.6g} orders, each measured in "
            f"every update; give a larger step (at most {_MAX_GRID} orders)"
        )
    grid = {round(low + place * step, 9) for place in range(int(num_orders))}
    rule = VarianceBudget(
        desired=_schedule(section, "desired", num_rounds),
        budget=section.number("budget", at_least=1),
        # 0 is what the budget refers to. Adding it to 0.0 makes a -0.0 positive.
        orders=tuple(sorted(0.0 + order for order in grid | {low, high, 0.0})),
    )
    return _adaptive(section, rule, low, high)


def _reward(section: Section, num_rounds: int) -> Controller:
    start, end = section.number("start"), section.number("end")
    reward_low = section.number("reward_low", 0.0)
    rule = RewardProgress(
        start=start,
        end=end,
        reward_low=reward_low,
        reward_high=section.number("reward_high", 1.0, above=reward_low),
    )
    return _adaptive(section, rule, min(start, end), max(start, end))


def _clip_aware_ess(section: Section, num_rounds: int) -> Controller:
    low, high = _bounds(section, 0.0, 1.0)
    if low * high < 0:
        raise ValueError(
            f"{section.name}.low: {low:g} with high {high:g}; give both on one side of 0, where a "
            "concentration of the weights belongs to one order"
        )
    clip_frac_max = section.number("clip_frac_max", above=0, at_most=1)
    return PerSequenceOrder(ClipAwareOrder(clip_frac_max, low, high), section.name)


class _Builder(NamedTuple):
    build: Callable[[Section, int], Controller]
    required: tuple[str, ...]
    optional: tuple[str, ...]


_CHECKS = ("max_change", "smoothing")
_BUILDERS: Mapping[str, _Builder] = {
    "ess": _Builder(_ess, ("start", "set_point"), ("low", "high", *_CHECKS)),
    "variance": _Builder(
        _variance, ("start", "desired", "budget"), ("grid_step", "low", "high", *_CHECKS)
    ),
    "reward": _Builder(_reward, ("start", "end"), ("reward_low", "reward_high", *_CHECKS)),
    "clip_aware_ess": _Builder(_clip_aware_ess, ("clip_frac_max",), ("low", "high")),
}


def _schedule(section: Section, field: str, num_rounds: int) -> Schedule:
    return build_schedule(
        section.values[field], num_rounds=num_rounds, field=f"{section.name}.{field}"
    )


def _bounds(section: Section, low: float, high: float) -> tuple[float, float]:
    low = section.number("low", low)
    return low, section.number("high", high, above=low)


def _adaptive(section: Section, rule: Rule, low: float, high: float) -> AdaptiveOrder:
    settings = AdaptiveSettings(
        rule=rule,
        start=section.number("start", at_least=low, at_most=high),
        low=low,
        high=high,
        max_change=section.number("max_change", AdaptiveSettings.max_change, above=0),
        smoothing=section.number("smoothing", AdaptiveSettings.smoothing, above=0, at_most=1),
    )
    return AdaptiveOrder(settings, section.name)
