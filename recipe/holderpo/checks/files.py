"""Whether the files and folders that a configuration names are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from recipe.holderpo.checks.data import data_files


def file_problems(config: DictConfig) -> Iterator[str]:
    """Data, model and tokenizer that are neither here nor elsewhere.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    for field, path in data_files(config):
        if not _is_remote(path) and not Path(path).expanduser().exists():
            yield f"{field}: {path} does not exist; prepare it ({config.prepared_by})"
    model = config.actor_rollout_ref.model
    if model.path is None:
        yield "actor_rollout_ref.model.path: null; give a folder or the name of a model on the hub"
    for name in ("path", "tokenizer_path", "hf_config_path"):
        place = model.get(name)
        # verl lets the others follow the path.
        if place is None or (name != "path" and place == model.path):
            continue
        if not Path(str(place)).expanduser().exists() and not _is_hub_name(str(place)):
            yield (
                f"actor_rollout_ref.model.{name}: {place} does not exist; give a folder or the "
                f"name of a model on the hub, or prepare it ({config.prepared_by})"
            )


def _is_hub_name(path: str) -> bool:
    """``name`` or ``owner/name``, unless the owner is a folder here: then it is a mistyped path."""
    owner, slash, _ = path.partition("/")
    return _is_remote(path) or (
        re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) is not None
        and not path.startswith(".")
        and not (slash and Path(owner).is_dir())
    )


def _is_remote(path: str) -> bool:
    return "://" in path
