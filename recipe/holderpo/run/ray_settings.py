"""Which Ray instance a run uses, and what ``ray.init`` is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.sections import plain

_SECTION = "ray_kwargs.ray_init"
# In the causes of Ray's error, where a cluster is not told its token.
_WITHOUT_TOKEN = "InvalidAuthToken"
# Settings of ray.init for an instance that it starts itself.
OF_A_NEW_RAY = (
    *("num_cpus", "num_gpus", "resources", "include_dashboard", "object_store_memory", "labels"),
    *("_system_config", "_node_name"),
)


def address_to_join(config: DictConfig) -> str | None:
    """The Ray instance that is up already and that the run connects to.

    As in Ray, the environment's ``RAY_ADDRESS`` counts where the setting leaves the address open,
    and ``local`` means none. Other than in Ray, an instance that nobody has named is left alone:
    ``ray start`` leaves an address behind that ``ray.init`` would join.

    Args:
        config: as composed.

    Returns:
        Its address; None where the run starts an instance of its own.
    """
    address = config.ray_kwargs.ray_init.get("address")
    if address in (None, "", "auto"):
        address = os.environ.get("RAY_ADDRESS") or address
    return None if address in (None, "", "local") else str(address)


def connects_to_ray(config: DictConfig) -> bool:
    """Whether the run is to use a Ray instance that is up already."""
    return address_to_join(config) is not None


def token_problem(address: str, error: BaseException | None) -> str | None:
    """What to do where a Ray cluster refuses a connection for its token.

    Ray itself says only that it cannot connect, after 20 s.

    Args:
        address: of the cluster.
        error: of ``ray.init``.

    Returns:
        One line; None where the error has another cause.
    """
    while error is not None:
        if _WITHOUT_TOKEN in str(error):
            return (
                f"RAY_ADDRESS: {address}; that Ray cluster asks for its token: set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the one that its head was started "
                "with (without it Ray reads ~/.ray/auth_token)"
            )
        error = error.__cause__
    return None


def unread_settings(config: DictConfig, changed: Iterable[str]) -> Iterator[str]:
    """Resources that someone has set and that an instance which is up is not told.

    Args:
        config: as composed.
        changed: dotted names of what differs from the base.

    Yields:
        One line each.
    """
    address = address_to_join(config)
    for name in changed if address is not None else ():
        key = name.removeprefix(f"{_SECTION}.").partition(".")[0]
        if name.startswith(_SECTION) and key in OF_A_NEW_RAY:
            yield f"{name} has no effect: the Ray instance at {address} has its own resources"


def init_settings(config: DictConfig, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """What ``ray.init`` is called with.

    Args:
        config: of the run.
        runtime_env: of its processes; the user's own entries are merged over it.

    Returns:
        Keyword arguments. An instance that is up has its resources: Ray refuses to be told of
        others.
    """
    users = plain(config.ray_kwargs.ray_init)
    settings: dict[str, Any] = plain(OmegaConf.merge({"runtime_env": dict(runtime_env)}, users))
    address = address_to_join(config)
    if address is None:
        return settings | {"address": "local"}
    kept = {name: value for name, value in settings.items() if name not in OF_A_NEW_RAY}
    return kept | {"address": address}
