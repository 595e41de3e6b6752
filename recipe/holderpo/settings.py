"""This project's own sections of the Hydra configuration, as typed settings."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from holderpo.advantage import AdvantageSettings

# Name of the policy loss and of the advantage estimator in verl's registries.
HOLDER = "holder"


def plain(section: DictConfig | ListConfig) -> Any:
    """A section as plain dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(section, resolve=True)


def p_settings(config: DictConfig) -> dict[str, Any]:
    """The section ``p``."""
    return plain(config.p)


def advantage_settings(config: DictConfig) -> AdvantageSettings:
    """The section ``advantage``.

    Raises:
        ValueError: for a transform without a name or one that cannot be loaded.
    """
    return AdvantageSettings(**plain(config.advantage))
