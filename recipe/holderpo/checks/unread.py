"""Which of the settings that nothing reads someone has changed."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.holderpo.checks.defaults import changed_settings
from recipe.holderpo.checks.unread_table import UNREAD


def unread_warnings(config: DictConfig) -> Iterator[str]:
    """Settings that differ from the base of this device, and that nothing reads.

    Args:
        config: a checked configuration.

    Yields:
        One line per row of the table.
    """
    changed = changed_settings(config)
    for row in UNREAD:
        named = [name for name in changed if any(_covers(field, name) for field in row.fields)]
        if named and not row.unless(config):
            verb = "has" if len(named) == 1 else "have"
            yield f"{', '.join(named)} {verb} no effect: {row.why}"


def _covers(field: str, name: str) -> bool:
    return name.startswith(field) if field.endswith(".") else name == field
