"""The Ray instance that the runs of a sweep connect to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.from_machine import RAY_CPUS, take_from_machine
from recipe.holderpo.run.ray_settings import OF_A_NEW_RAY
from recipe.holderpo.sections import plain

# What --ray says besides an address.
SHARED, OWN = "shared", "own"


@contextmanager
def ray_for_runs(choice: str, first: Callable[[], DictConfig]) -> Iterator[str | None]:
    """Have a Ray instance for the runs, if they are to share one.

    Args:
        choice: of ``--ray``.
        first: composes the first run. A shared instance gets the resources that this run would
            give its own.

    Yields:
        The address that they connect to; None where each starts its own.
    """
    if choice != SHARED:
        yield None if choice == OWN else choice
        return
    import ray

    config = first()
    take_from_machine(config, on_cluster=False)
    settings = plain(config.ray_kwargs.ray_init)
    # The instance lives as long as this process and ends with it.
    ray.init(
        address="local",
        log_to_driver=False,
        **{name: settings[name] for name in OF_A_NEW_RAY if name in settings},
    )
    # Again: ray.init has installed a handler of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def taken_here(config: DictConfig) -> dict[str, Any]:
    """What a run on GPUs takes from this machine, where it finds a Ray instance that is up.

    Args:
        config: of the run; filled in.

    Returns:
        Values by dotted name, without what a new instance counts.
    """
    taken = take_from_machine(config, on_cluster=False)
    names = taken.names if taken is not None else ()
    return {name: OmegaConf.select(config, name) for name in names if name != RAY_CPUS}
