"""Whether a package of others can be imported."""

from __future__ import annotations

import importlib


def why_not_importable(name: str) -> str | None:
    """Import a module, which is the only way to tell.

    Args:
        name: dotted.

    Returns:
        The first line of what it ends in; None where it can be imported.
    """
    try:
        importlib.import_module(name)
    except Exception as error:
        # A foreign module may raise anything, also without a word.
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None
