"""The controller of p from its settings: each section names a class and that class's fields.

A frozen dataclass with ``at`` and ``last_step`` is a schedule, a subclass of ``FeedbackRule`` a
rule, one with ``for_rows`` an order for each response. No table knows them: a new one is its class
and a yaml file in configs/p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from holderpo.control.controllers import (
    Controller,
    FeedbackController,
    OpenLoopController,
    SignMatchedController,
)
from holderpo.control.order import OrderBySign, UniformOrder
from holderpo.control.rules import SIDES, FeedbackRule, SignMatched
from holderpo.control.schedule import check_values, is_schedule
from holderpo.dotted import load_callable

TARGET = "_target_"
_HINT = "choose a file of configs/p, as p=linear, or see docs/control_of_p.md"


def build_controller(
    settings: Mapping[str, Any], *, num_rounds: int, field: str = "p"
) -> Controller:
    """Build a controller from ``{_target_: package.module.Class, <its fields>}``.

    Args:
        settings: of a schedule or a rule; a field may be a section of the same form.
        num_rounds: rollout rounds of the whole run.
        field: where the settings stand in the configuration, for the errors.

    Returns:
        The controller.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    return _control(build_rule(settings, num_rounds=num_rounds, field=field), field)


def build_rule(settings: Mapping[str, Any], *, num_rounds: int, field: str = "p") -> Any:
    """Build a schedule or a rule, its nested sections first.

    One with a method ``for_run(num_rounds)`` is what that returns.

    Args:
        settings: as for :func:`build_controller`.
        num_rounds: rollout rounds of the whole run.
        field: where the settings stand in the configuration, for the errors.

    Returns:
        The frozen dataclass that ``_target_`` names.

    Raises:
        ValueError: naming the field, its value and what is allowed; unknown and missing fields all
            at once.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{field}: {settings!r}; give a section with {TARGET} and its fields")
    name = settings.get(TARGET)
    if not isinstance(name, str):
        raise ValueError(f"{field}.{TARGET}: {name!r}; {_HINT}")
    rule_class = load_callable(name, field=f"{field}.{TARGET}")
    if not (isinstance(rule_class, type) and is_dataclass(rule_class)):
        raise ValueError(f"{field}.{TARGET}: {name!r} is no dataclass; {_HINT}")
    own = vars(rule_class)
    if own.get("__annotations__") and "__dataclass_fields__" not in own:
        raise ValueError(
            f"{field}.{TARGET}: {name!r} lacks @dataclass(frozen=True, kw_only=True); its fields "
            "are none without it"
        )
    values = {key: value for key, value in settings.items() if key != TARGET}
    _check_names(rule_class, values, field)
    for key, value in values.items():
        if isinstance(value, Mapping):
            values[key] = build_rule(value, num_rounds=num_rounds, field=f"{field}.{key}")
    try:
        rule: Any = rule_class(**values)
        rule = rule.for_run(num_rounds) if hasattr(rule, "for_run") else rule
        if isinstance(rule, FeedbackRule):
            # Also where a rule of one's own has replaced it.
            FeedbackRule.__post_init__(rule)
        if is_schedule(rule):
            check_values(rule, num_rounds)
    except ValueError as error:
        raise ValueError(f"{field}.{error}") from error
    except Exception as error:
        raise ValueError(f"{field}: {name} fails: {type(error).__name__}: {error}") from error
    return rule


def _check_names(rule_class: type, values: Mapping[str, Any], field: str) -> None:
    known = {one.name: one for one in fields(rule_class)}
    problems = [
        f"{field}.{name}: not a field of {rule_class.__name__}; it has {', '.join(known)}"
        for name in values
        if name not in known
    ]
    problems += [
        f"{field}.{name}: missing; {rule_class.__name__} needs it"
        for name, one in known.items()
        if one.default is MISSING and one.default_factory is MISSING and name not in values
    ]
    if problems:
        raise ValueError("\n".join(problems))


def _control(rule: Any, field: str) -> Controller:
    if isinstance(rule, SignMatched):
        sides = {name: _control(getattr(rule, name), f"{field}.{name}") for name in SIDES}
        return SignMatchedController(sides, field)
    if isinstance(rule, FeedbackRule):
        return FeedbackController(rule, field)
    is_order = hasattr(rule, "for_rows") and not isinstance(rule, UniformOrder | OrderBySign)
    if is_schedule(rule) or is_order:
        return OpenLoopController(rule, field)
    raise ValueError(
        f"{field}: {type(rule).__name__} is no schedule (at, last_step), no FeedbackRule, and no "
        f"order for each response (for_rows); {_HINT}"
    )
