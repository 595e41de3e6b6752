"""Whether a run that goes on has the settings that it was started with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipe.holderpo.checks.attention import ATTENTION, FLASH_2
from recipe.holderpo.cpu.shortcuts import leave_out

# Where things go, what is shown, and how often: these may differ, and those below them.
NOT_COMPARED = (
    # When a run is ended, without anything to do with its numbers.
    *("max_failed_prompts", "no_progress_seconds", "stop_after_skipped_rounds"),
    "wait_for_nodes_seconds",
    *("check", "prepared_by", "ray_kwargs", "report", "resume_with", "rollout_poll_seconds"),
    # How many processes do the work, which may follow from the machine.
    *("actor_rollout_ref.rollout.agent.num_workers", "reward.num_workers"),
    "transfer_queue.backend.SimpleStorage.num_data_storage_units",
    "gpu_memory_gib",
    *("global_profiler", "run_dir", "trainer.checkpoint_callback_class"),
    *("trainer.default_hdfs_dir", "trainer.default_local_dir", "trainer.del_local_ckpt_after_load"),
    *("trainer.esi_redundant_time", "trainer.experiment_name", "trainer.log_val_generations"),
    *("trainer.logger", "trainer.max_actor_ckpt_to_keep", "trainer.max_critic_ckpt_to_keep"),
    *("trainer.project_name", "trainer.remove_previous_ckpt_in_save", "trainer.resume_from_path"),
    *("trainer.resume_mode", "trainer.rollout_data_dir", "trainer.save_freq", "trainer.test_freq"),
    *("trainer.val_before_train", "trainer.validation_data_dir"),
)
# Of adapters: with other ones a checkpoint cannot be loaded, also where resume_with names them.
OF_ADAPTERS = tuple(
    f"actor_rollout_ref.model.{name}"
    for name in ("lora_rank", "target_modules", "exclude_modules", "target_parameters")
)
# Settings that are gone, and changed nothing but the rounding.
_REMOVED = ("actor_rollout_ref.actor.policy_loss.compiled",)
# Sections of every configuration of this project: without one of them, the file is cut off.
_SECTIONS = ("actor_rollout_ref", "algorithm", "data", "p", "run_dir", "seed", "trainer")
# Read where a model rewards.
_REWARD_MODEL = "reward.reward_model"
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """A setting that has another value than when the run was started."""

    name: str
    """Dotted."""
    before: str
    """How the run was started: ``with 3``, or ``without it``."""
    now: str
    """Its value here, as it is shown."""


@dataclass(frozen=True)
class Comparison:
    """A run's own configuration beside the one that it is to go on with."""

    differences: tuple[Difference, ...]
    """Settings that differ, those that may and those that ``resume_with`` allows included."""
    unknown_then: tuple[str, ...]
    """Settings that the run's version of this project did not have, at their defaults here."""


def read_config(path: Path) -> DictConfig:
    """The configuration that a run was started with.

    Raises:
        ValueError: if it cannot be understood, saying why.
    """
    try:
        config = OmegaConf.load(path)
        OmegaConf.to_container(config, resolve=True)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        # The first line says what, the others where.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise ValueError(f"cannot be read ({reason})") from error
    if not isinstance(config, DictConfig):
        raise ValueError("is not that of a run (it has no sections)")
    if missing := [name for name in _SECTIONS if name not in config]:
        raise ValueError(f"is cut off or not that of a run (it has no {', '.join(missing)})")
    return config


def compare(then: DictConfig, now: DictConfig, defaults: DictConfig) -> Comparison:
    """Find what differs between two configurations.

    What follows from another setting is not named beside it: ``${seed}`` on both sides is the same.

    Args:
        then: of :func:`read_config`.
        now: as composed.
        defaults: of this version, references not resolved.

    Returns:
        What differs, places and logging left out.
    """
    now = now.copy()
    if now.device == "cpu" and not now.cpu.shortcuts:
        # As it is written into the run's folder.
        leave_out(now)
    found, new = [], []
    ignored: tuple[str, ...] = NOT_COMPARED
    if not any(OmegaConf.select(one, f"{_REWARD_MODEL}.enable") for one in (then, now)):
        ignored = (*NOT_COMPARED, _REWARD_MODEL)
    raw = _tree(now)
    for name, old, value in _different(_tree(then), raw, _resolved(then), _resolved(now)):
        if is_named(name, ignored + _REMOVED):
            continue
        if name == ATTENTION and _attention(old) == _attention(value):
            continue
        default = _at(_tree(defaults), name)
        if old is _ABSENT and default is not _ABSENT and default == _at(raw, name):
            new.append(name)
        else:
            before = "without it" if old is _ABSENT else f"with {old!r}"
            now_shown = "not set" if value is _ABSENT else repr(value)
            found.append(Difference(name, before, now_shown))
    return Comparison(tuple(found), tuple(new))


def is_named(name: str, names: tuple[str, ...]) -> bool:
    """Whether a setting, or a section that it is in, is one of ``names``."""
    return any(name == other or name.startswith(f"{other}.") for other in names)


def has_setting(config: DictConfig, name: str) -> bool:
    """Whether a dotted name is that of a setting or a section."""
    return _at(_tree(config), name) is not _ABSENT


def _tree(config: DictConfig | ListConfig) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def _resolved(config: DictConfig | ListConfig) -> Any:
    return OmegaConf.to_container(config, resolve=True)


def _at(tree: Any, name: str) -> Any:
    for key in name.split("."):
        if not isinstance(tree, Mapping) or key not in tree:
            return _ABSENT
        tree = tree[key]
    return tree


def _different(
    raw_then: Mapping[Any, Any],
    raw_now: Mapping[Any, Any],
    then: Mapping[Any, Any],
    now: Mapping[Any, Any],
    prefix: str = "",
) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of each setting that differs; absent and null are one."""
    for key in {**raw_then, **raw_now}:
        name = f"{prefix}{key}"
        raw = raw_then.get(key, _ABSENT), raw_now.get(key, _ABSENT)
        values = then.get(key, _ABSENT), now.get(key, _ABSENT)
        sections = [value for value in raw if isinstance(value, Mapping)]
        if len(sections) == 2 or (sections and any(_is_nothing(value) for value in raw)):
            below = [value if isinstance(value, Mapping) else {} for value in (*raw, *values)]
            yield from _different(below[0], below[1], below[2], below[3], f"{name}.")
        elif not _is_same(*raw) and not _is_same(*values):
            yield name, *values


def _attention(value: Any) -> Any:
    """An implementation of attention; where none is given verl takes its default."""
    return FLASH_2 if _is_nothing(value) else value


def _is_nothing(value: Any) -> bool:
    return value is None or value is _ABSENT


def _is_same(one: Any, other: Any) -> bool:
    if _is_nothing(one) or _is_nothing(other):
        return _is_nothing(one) and _is_nothing(other)
    # A switch is no number, and a NaN is itself.
    is_switch = isinstance(one, bool), isinstance(other, bool)
    return is_switch[0] == is_switch[1] and (one == other or repr(one) == repr(other))
