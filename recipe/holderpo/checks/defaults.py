"""What someone has changed, against the base that every experiment starts from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.config_folder import base_config


@functools.cache
def base_values(device: str, *, resolve: bool) -> Mapping[str, Any]:
    """Every setting of the composed base.

    Args:
        device: a file of ``configs/device/``.
        resolve: false leaves interpolations as they are written.

    Returns:
        Values by dotted name; shared, so leave them as they are.
    """
    return dict(leaves(OmegaConf.to_container(base_config(device), resolve=resolve)))


def changed_settings(config: DictConfig) -> dict[str, Any]:
    """Settings that differ from the base; those that follow a changed one are not among them.

    Args:
        config: as composed.

    Returns:
        Values by dotted name, interpolations as they are written.
    """
    written = base_values(config.device, resolve=False)
    resolved = base_values(config.device, resolve=True)
    return {
        name: value
        for name, value in leaves(OmegaConf.to_container(config, resolve=False))
        if name not in written or value not in (written[name], resolved.get(name))
    }


def leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything in a plain section that is no section itself."""
    for key, value in section.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
