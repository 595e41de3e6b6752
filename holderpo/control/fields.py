"""Checks of single settings; every error names the field, the value and the fix."""

from __future__ import annotations

import math
from typing import Any

from holderpo.number_kinds import is_number, is_whole


def check_number(
    settings: Any,
    field: str,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
) -> None:
    """Refuse a field that is no finite number within its range.

    Args:
        settings: object with the field.
        field: name of the attribute.
        above: it must be larger.
        at_least: smallest allowed value.
        at_most: largest allowed value.

    Raises:
        ValueError: ``field: value; give ...``.
    """
    value = getattr(settings, field)
    if not is_number(value) or not (above < value and at_least <= value <= at_most):
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("above", above), ("at least", at_least), ("at most", at_most))
            if math.isfinite(limit)
        ]
        wanted = " ".join(["a finite number", " and ".join(limits)]).strip()
        raise ValueError(f"{field}: {value!r}; give {wanted}")


def check_count(settings: Any, field: str, *, at_least: int = 0, otherwise: str = "") -> None:
    """Refuse a field that is no whole number of rounds.

    Args:
        settings: object with the field.
        field: name of the attribute.
        at_least: smallest allowed value.
        otherwise: a word that is allowed too, for the error.

    Raises:
        ValueError: ``field: value; give ...``.
    """
    value = getattr(settings, field)
    if not is_whole(value, at_least):
        wanted = f"a whole number of rounds, {at_least} or more"
        raise ValueError(
            f"{field}: {value!r}; give {wanted}" + (f", or '{otherwise}'" if otherwise else "")
        )
