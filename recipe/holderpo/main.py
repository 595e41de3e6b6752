"""Entry point: ``python -m recipe.holderpo.main --config-name=<experiment> [Hydra overrides]``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import hydra
from hydra.core.config_search_path import ConfigSearchPath
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


@hydra.main(config_path=str(config_dir()), config_name="base", version_base=None)
def main(config: DictConfig) -> None:
    """Compose, check, print the plan, run."""
    from recipe.holderpo.console import Console
    from recipe.holderpo.launch import train

    console = Console(Path(config.run_dir) / "run.log")
    try:
        train(config, console)
    finally:
        console.close()


if __name__ == "__main__":
    main()
