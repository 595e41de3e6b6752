"""Composed configurations for tests, fast.

Most of the time of a composition goes into reading the same yaml files, and of a check into parsing
the same interpolations: here each is done once per process.
"""

import functools
import pickle
from unittest.mock import patch

import omegaconf.base
from hydra import compose, initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from recipe.holderpo.main import config_dir

# A pure function of the text; what reads its tree does not change it.
omegaconf.base.parse = functools.cache(omegaconf.base.parse)

_read = ConfigRepository.load_config
_files = {}


def _read_once(repository, config_path):
    key = *(source.path for source in repository.sources), config_path
    if key not in _files:
        _files[key] = pickle.dumps(_read(repository, config_path))
    # Hydra takes the defaults list out of what it gets: each time a copy, by pickle the fastest.
    return pickle.loads(_files[key])


@functools.cache
def by_hydra(name, overrides=(), folder=None):
    """A configuration of our folder or of the caller's; shared, so leave it as it is."""
    with (
        initialize_config_dir(config_dir=str(folder or config_dir()), version_base=None),
        patch.object(ConfigRepository, "load_config", _read_once),
    ):
        return compose(name, list(overrides))


@functools.cache
def _pickled(name, overrides):
    return pickle.dumps(by_hydra(name, overrides))


def composed(name, overrides=()):
    """A configuration of one's own.

    Hydra takes 0.2 s, so it composes each set of groups once; values of known keys are set after.
    """
    keys = [text.partition("=")[0] for text in overrides]
    is_value = [key[0] not in "+~" and "." in key and "@" not in key for key in keys]
    values = [text for text, is_one in zip(overrides, is_value, strict=True) if is_one]
    config = pickle.loads(_pickled(name, tuple(o for o in overrides if o not in values)))
    for value in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(config, value.key_or_group, value.value())
    return config
