"""Where the yaml files are, ours and verl's, so that Hydra finds both."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig


def config_dir() -> Path:
    """Where the yaml files are: inside the installed package, or at the top of a checkout."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


class VerlConfigs(SearchPathPlugin):
    """Lets our yaml files start from verl's own, found without importing verl."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append verl's folder of yaml files."""
        spec = importlib.util.find_spec("verl")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("verl is not installed (fix: make setup)")
        folder = Path(spec.submodule_search_locations[0]) / "trainer" / "config"
        search_path.append("verl", f"file://{folder}")


Plugins.instance().register(VerlConfigs)


@functools.cache
def base_config(device: str) -> DictConfig:
    """What every experiment on a device starts from.

    Args:
        device: a file of ``configs/device/``.

    Returns:
        The composed ``base.yaml``; shared, so leave it as it is.
    """
    hydra_of_the_run = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base=None):
            return compose("base", [f"device={device}"])
    finally:
        GlobalHydra.instance().hydra = hydra_of_the_run
