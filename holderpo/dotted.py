"""Look up a callable by its dotted name, for the places where a user can plug in their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def load_callable(
    name: str, *, field: str, known: Mapping[str, Callable[..., Any]] | None = None
) -> Callable[..., Any]:
    """Return the callable ``package.module.function`` names, or a known short name's.

    Args:
        name: a short name from ``known``, or a dotted name.
        field: configuration field the name came from, for the error.
        known: short names and what they stand for.

    Returns:
        The callable.

    Raises:
        ValueError: if it cannot be imported or is not callable, naming ``field`` and the fix.
    """
    known = known or {}
    if name in known:
        return known[name]
    module_name, _, attribute = name.rpartition(".")
    hint = f"give one of {sorted(known)} or a dotted name" if known else "give a dotted name"
    if not module_name:
        raise ValueError(f"{field}: unknown name {name!r}; {hint} (package.module.function)")
    try:
        target: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        # Importing a user's module can fail in any way.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{field}: cannot load {name!r} ({reason}); {hint}") from error
    if not callable(target):
        raise ValueError(f"{field}: {name!r} is not callable; {hint} of a function")
    return target
