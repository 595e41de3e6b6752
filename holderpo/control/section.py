"""One section of settings, read field by field; every error names the field and the fix."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any


class Section:
    """The fields of one section; a field set to null counts as not set."""

    def __init__(self, settings: Mapping[str, Any], name: str) -> None:
        """Take the fields that are set.

        Args:
            settings: the section.
            name: where it stands in the configuration, as ``p.positive``.

        Raises:
            ValueError: if it is not a section.
        """
        if not isinstance(settings, Mapping):
            raise ValueError(f"{name}: {settings!r}; give a section with `kind` and its fields")
        self.name = name
        self.values = {field: value for field, value in settings.items() if value is not None}

    def choice(self, field: str, known: Collection[str]) -> str:
        """One of the ``known`` names."""
        value = self.values.get(field)
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{self.name}.{field}: {value!r}; give one of {sorted(known)}")
        return value

    def require_fields(self, required: Collection[str], optional: Collection[str]) -> None:
        """Refuse missing fields and fields that would have no effect, all of them at once.

        Args:
            required: fields that must be set.
            optional: fields that may be set.

        Raises:
            ValueError: naming each of them, one line each.
        """
        kind = self.values.get("kind")
        fields = ", ".join([*required, *optional])
        problems = [
            f"{self.name}.{field}: not a field of kind {kind!r}; it has {fields} (null unsets)"
            for field in sorted(set(self.values) - {"kind", *required, *optional})
        ]
        problems += [
            f"{self.name}.{field}: missing; kind {kind!r} needs it"
            for field in required
            if field not in self.values
        ]
        if problems:
            raise ValueError("\n".join(problems))

    def number(
        self,
        field: str,
        default: float | None = None,
        *,
        above: float = -math.inf,
        at_least: float = -math.inf,
        at_most: float = math.inf,
    ) -> float:
        """A finite number, ``default`` where the field is not set."""
        value: Any = self.values.get(field, default)
        if not _is_number(value) or not (above < value and at_least <= value <= at_most):
            limits = [
                f"{word} {limit:g}"
                for word, limit in (("above", above), ("at least", at_least), ("at most", at_most))
                if math.isfinite(limit)
            ]
            wanted = " ".join(["a finite number", " and ".join(limits)]).strip()
            raise ValueError(f"{self.name}.{field}: {value!r}; give {wanted}")
        return float(value)

    def count(self, field: str, default: int | None = None, *, at_least: int = 0) -> int:
        """A whole number of rounds, ``default`` where the field is not set."""
        value: Any = self.values.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ValueError(
                f"{self.name}.{field}: {value!r}; give a whole number of rounds, {at_least} or more"
            )
        return value

    def check_range(self, fields: Collection[str], low: float, high: float) -> None:
        """Refuse those of ``fields`` that are set and not within [low, high]."""
        for field in fields:
            if field in self.values:
                self.number(field, at_least=low, at_most=high)

    def nested(self, field: str) -> Section:
        """The section under ``field``."""
        return Section(self.values[field], f"{self.name}.{field}")


def _is_number(value: Any) -> bool:
    # False for NaN too, and for a whole number that no float can hold.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max
