"""How a run that was cut off goes on: ``python -m recipe.holderpo.run.own_checkpoint``, its words.

Prints ``trainer.resume_mode=auto`` if the run has a checkpoint of its own, and nothing if it has
none, so that it begins as its words say.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from recipe.holderpo.checks.checkpoints import TRACKER, checkpoints_of
from recipe.holderpo.config_folder import config_dir


@hydra.main(config_path=str(config_dir()), config_name="base", version_base=None)
def main(config: DictConfig) -> None:
    """Look for a checkpoint that counts in the folder of the composed configuration."""
    folder = checkpoints_of(config)
    if folder is not None and (folder / TRACKER).exists():
        print("trainer.resume_mode=auto")


if __name__ == "__main__":
    main()
