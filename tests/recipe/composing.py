"""Composed configurations for tests, fast."""

import copy
import functools

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from recipe.holderpo.main import config_dir


@functools.cache
def _by_hydra(name, overrides):
    with initialize_config_dir(config_dir=str(config_dir()), version_base=None):
        return compose(name, list(overrides))


def composed(name, overrides=()):
    """A configuration of one's own.

    Hydra takes 0.7 s, so it composes each set of groups once; values of known keys are set after.
    """
    keys = [text.partition("=")[0] for text in overrides]
    is_value = [key[0] not in "+~" and "." in key and "@" not in key for key in keys]
    values = [text for text, is_one in zip(overrides, is_value, strict=True) if is_one]
    config = copy.deepcopy(_by_hydra(name, tuple(o for o in overrides if o not in values)))
    for text in values:
        key, _, value = text.partition("=")
        OmegaConf.update(config, key, yaml.safe_load(value))
    return config
