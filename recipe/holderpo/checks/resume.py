"""How a run begins: anew, or after a step that it has a checkpoint of.

Decided once, before anything is written or started, so that the check, the trainer and verl cannot
mean different checkpoints.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from holderpo.control import Controller
from holderpo.studies.run_files import CONFIG_FILE, METRICS_FILE
from recipe.holderpo.checks.asynchronous import under_way_problems, under_way_warnings
from recipe.holderpo.checks.checkpoints import (
    CONTENTS,
    OF_A_RANK,
    TRACKER,
    checkpoints_in,
    checkpoints_of,
    find_faults,
    is_below,
    is_complete,
    is_in,
    needed_files,
    step_of,
    world_size,
    written_by_ranks,
)
from recipe.holderpo.checks.controller_state import read_controller_state
from recipe.holderpo.checks.kinds import is_count
from recipe.holderpo.checks.moved_folders import moved_folder_problems
from recipe.holderpo.checks.same_settings import (
    NOT_COMPARED,
    OF_ADAPTERS,
    compare,
    has_setting,
    is_named,
    read_config,
)
from recipe.holderpo.checks.which_checkpoint import ANEW, find_checkpoint
from recipe.holderpo.run.run_folder import aside_of

RESUME_MODES = ("auto", "disable", "resume_path")
_CONTENTS = "actor_rollout_ref.actor.checkpoint"


@dataclass(frozen=True)
class Start:
    """How a run begins."""

    checkpoint: Path | None = None
    """Folder of the checkpoint that it goes on from; None to begin with the first step."""
    step: int = 0
    """Of that checkpoint."""
    is_own: bool = True
    """Whether the checkpoint is this run's, and not that of a run in another folder."""
    controller_state: Mapping[str, Any] | None = None
    """Of the controller of p; None where p goes on by its settings here alone."""
    is_changed: bool = False
    """Whether it goes on with settings that ``resume_with`` has let differ."""
    moved_aside: tuple[Path, ...] = ()
    """Folders of an earlier run, or of checkpoints that it is not to go on from."""
    lines: tuple[str, ...] = ()
    """Of the plan."""
    warnings: tuple[str, ...] = ()
    """What is odd about it."""


def resume_problems(config: DictConfig) -> Iterator[str]:
    """Settings of checkpoints and of going on that mean nothing.

    Args:
        config: as composed.

    Yields:
        One line: field, value, fix.
    """
    trainer = config.trainer
    if trainer.resume_mode not in RESUME_MODES:
        yield f"trainer.resume_mode: {trainer.resume_mode!r}; give one of {', '.join(RESUME_MODES)}"
    saves = isinstance(trainer.save_freq, int)
    if not saves:
        yield (
            f"trainer.save_freq: {trainer.save_freq!r}; give a number of steps, or -1 for no "
            "checkpoints"
        )
    if not trainer.default_local_dir and (
        trainer.resume_mode == "auto" or (saves and trainer.save_freq > 0)
    ):
        yield f"trainer.default_local_dir: {trainer.default_local_dir!r}; give a folder"
    limit = trainer.get("max_actor_ckpt_to_keep")
    if limit is not None and not is_count(limit):
        yield (
            f"trainer.max_actor_ckpt_to_keep: {limit!r}; give a number of checkpoints above 0, or "
            "null to keep all"
        )
    yield from _contents(config)
    allowed = config.resume_with
    if not isinstance(allowed, ListConfig) or not all(
        name and type(name) is str for name in allowed
    ):
        shown = list(allowed) if isinstance(allowed, ListConfig) else allowed
        yield f"resume_with: {shown!r}; give a list of names, such as resume_with=[seed]"


def _contents(config: DictConfig) -> Iterator[str]:
    """Kinds of content that verl does not have, and contents that cannot be gone on from."""
    checkpoint, wrong = config.actor_rollout_ref.actor.checkpoint, {}
    for name in ("save_contents", "load_contents"):
        value = checkpoint[name]
        if value is not None and not (isinstance(value, ListConfig) and set(value) <= {*CONTENTS}):
            wrong[name] = list(value) if isinstance(value, ListConfig) else value
    for name, value in wrong.items():
        # verl's configuration lets the second follow the first.
        if name == "save_contents" or value != wrong.get("save_contents"):
            yield f"{_CONTENTS}.{name}: {value!r}; give a list of {', '.join(CONTENTS)}"
    # Files for use elsewhere alone are right where nothing is resumed.
    if not wrong and config.trainer.resume_mode != "disable":
        yield from _not_to_be_resumed(config)


def _not_to_be_resumed(config: DictConfig) -> Iterator[str]:
    """A checkpoint that lacks what is loaded, or a run that would go on with untrained weights."""
    checkpoint = config.actor_rollout_ref.actor.checkpoint
    saved, loaded = (
        list(OF_A_RANK) if part is None else list(part)
        for part in (checkpoint.save_contents, checkpoint.load_contents)
    )
    or_never = "or set trainer.resume_mode=disable if nothing is ever to be resumed"
    if "model" not in loaded:
        yield (
            f"{_CONTENTS}.load_contents: {loaded!r}; a resumed run would go on with untrained "
            f"weights: have model there and in save_contents, {or_never}"
        )
    if missing := [name for name in OF_A_RANK if name in loaded and name not in saved]:
        yield (
            f"{_CONTENTS}.save_contents: {saved!r}; without {', '.join(missing)}, which "
            f"load_contents has, no checkpoint can be resumed: give both the same, {or_never}"
        )


def resume_warnings(config: DictConfig) -> Iterator[str]:
    """Settings of checkpoints and of going on that do nothing, or not what is expected."""
    trainer = config.trainer
    if trainer.save_freq <= 0:
        yield (
            f"trainer.save_freq {trainer.save_freq}: no checkpoint is written, so that nothing can "
            "be resumed (give a number of steps)"
        )
    elif trainer.save_freq > trainer.total_training_steps:
        yield (
            f"trainer.save_freq {trainer.save_freq}: the only checkpoint is written after the last "
            f"step, so that a run that is cut off cannot be resumed (give less than "
            f"{trainer.total_training_steps})"
        )
    loaded = config.actor_rollout_ref.actor.checkpoint.load_contents
    lost = [name for name in OF_A_RANK if loaded is not None and name not in loaded]
    if trainer.save_freq > 0 and trainer.resume_mode == "disable":
        yield from _not_to_be_resumed(config)
    elif trainer.save_freq > 0 and lost:
        yield (
            f"{_CONTENTS}.load_contents has no {', '.join(lost)}: a run that goes on from a "
            "checkpoint begins anew with that"
        )
    if trainer.resume_from_path and trainer.resume_mode != "resume_path":
        yield (
            "trainer.resume_from_path has no effect: it belongs to trainer.resume_mode=resume_path"
        )
    if config.resume_with and trainer.resume_mode == "disable":
        yield "resume_with has no effect: with trainer.resume_mode=disable nothing is resumed"
        return
    for name in config.resume_with:
        if is_named(name, NOT_COMPARED):
            yield f"resume_with: {name} has no effect: it may differ without being named"


def plan_start(config: DictConfig, controller: Controller | None) -> tuple[Start, list[str]]:
    """Decide where the run begins; nothing is written.

    Args:
        config: as composed.
        controller: of p; None if its settings are wrong, which others report.

    Returns:
        How it begins, and what keeps it from beginning so: a line each, with field, value and fix.
    """
    if list(resume_problems(config)):
        return Start(), []
    if not config.run_dir or _numbers_are_wrong(config):
        return Start(), []
    try:
        folder, warnings, problems = find_checkpoint(config)
        if problems:
            return Start(), problems
        if folder is None:
            return _anew(config, warnings)
        return _go_on(config, controller, folder, warnings)
    except OSError as error:
        return Start(), [f"run_dir: {config.run_dir!r} cannot be read ({error}); give another"]


def check_steps_left(step: int, config: DictConfig) -> Iterator[str]:
    """A line for a checkpoint after which nothing is left to train."""
    total_steps = config.trainer.total_training_steps
    if step >= total_steps:
        yield (
            f"trainer.total_training_steps: {total_steps}, but the checkpoint is at step {step}: "
            "nothing is left to train; raise it with "
            f"resume_with=[trainer.total_training_steps], or {ANEW}"
        )


def _numbers_are_wrong(config: DictConfig) -> bool:
    """Numbers that are read here, each reported where it is checked."""
    trainer = config.trainer
    counts = (trainer.nnodes, trainer.n_gpus_per_node, trainer.total_training_steps)
    return not all(isinstance(count, int) and count > 0 for count in counts)


def _anew(config: DictConfig, warnings: list[str]) -> tuple[Start, list[str]]:
    """A start with the first step: an earlier run is kept."""
    moved = tuple(_earlier_run(config))
    problems = [_unknown_name(n) for n in config.resume_with if not has_setting(config, n)]
    if problems := [*problems, *moved_folder_problems(config, moved)]:
        return Start(), problems
    lines = tuple(f"earlier    kept aside, as {aside_of(folder)}" for folder in moved)
    return Start(moved_aside=moved, lines=lines, warnings=tuple(warnings)), []


def _earlier_run(config: DictConfig) -> Iterator[Path]:
    """Folders that a run that begins anew would write over."""
    run_dir, folder = Path(config.run_dir), checkpoints_of(config)
    has_checkpoints = folder is not None and (
        bool(checkpoints_in(folder)) or (folder / TRACKER).exists()
    )
    is_inside = folder is not None and is_below(folder, run_dir)
    if config.trainer.resume_mode == "disable":
        is_run = run_dir.is_dir() and any(run_dir.iterdir())
    else:
        # What a start that took no step has left is written over: its log goes on.
        metrics = run_dir / METRICS_FILE
        is_run = (metrics.exists() and metrics.stat().st_size > 0) or any(
            run_dir.glob("heldout/*.jsonl")
        )
        is_run = is_run or (has_checkpoints and is_inside)
    if is_run:
        yield run_dir
    if folder is not None and has_checkpoints and not is_inside:
        yield folder


def _go_on(
    config: DictConfig, controller: Controller | None, folder: Path, warnings: list[str]
) -> tuple[Start, list[str]]:
    """Go on from a checkpoint, if it is whole and the run is still the same."""
    step = step_of(folder)
    assert step is not None, "found by its name"
    problems = [*check_steps_left(step, config), *_faults(config, folder)]
    changed, more, found = _settings(config, folder)
    warnings, problems = [*warnings, *more], [*problems, *found]
    warnings += under_way_warnings(config, folder)
    problems += under_way_problems(config, folder)
    state, more, found = _controller_state(config, controller, folder, bool(found))
    warnings, problems = [*warnings, *more], [*problems, *found]
    checkpoints = checkpoints_of(config)
    is_own = is_in(folder, checkpoints) or is_below(folder, Path(config.run_dir))
    newer: list[Path] = []
    if is_own and checkpoints is not None and config.trainer.resume_mode == "resume_path":
        newer = [path for number, path in checkpoints_in(checkpoints).items() if number > step]
    moved = newer if is_own else list(_earlier_run(config))
    if found := list(moved_folder_problems(config, moved)):
        return Start(), [*problems, *found]
    start = Start(
        checkpoint=folder,
        step=step,
        is_own=is_own,
        controller_state=state,
        is_changed=changed,
        moved_aside=tuple(moved),
        lines=(
            f"resume     after step {step}, from {folder}",
            *(f"earlier    kept aside, as {aside_of(path)}" for path in moved),
        ),
        warnings=tuple(warnings),
    )
    return start, problems


def _faults(config: DictConfig, folder: Path) -> Iterator[str]:
    """A checkpoint that is not whole, or not for as many devices."""
    ranks, written_by = world_size(config), written_by_ranks(folder)
    if written_by is not None and written_by != ranks:
        yield (
            f"trainer.nnodes * trainer.n_gpus_per_node: {ranks}, but {folder} was written by "
            f"{written_by} ranks; give as many, or {ANEW}"
        )
        return
    needed = needed_files(config)
    if faults := find_faults(folder, needed):
        others = [path for path in checkpoints_in(folder.parent).values() if path != folder]
        complete = next((path for path in others if is_complete(path, needed)), None)
        other = (
            f"trainer.resume_mode=resume_path trainer.resume_from_path={complete}, or "
            if complete
            else ""
        )
        yield f"{folder}: {', '.join(faults)}; {other}{ANEW}"


def _settings(config: DictConfig, folder: Path) -> tuple[bool, list[str], list[str]]:
    """Whether settings differ that may, warnings, and those that differ and may not."""
    # The name of the run's folder may have changed since, and checkpoints may be kept elsewhere.
    places = [folder.parent.parent, folder.parent]
    if is_in(folder, checkpoints_of(config)):
        places.insert(0, Path(config.run_dir).absolute())
    paths = [place / CONFIG_FILE for place in dict.fromkeys(places)]
    path = next((path for path in paths if path.exists()), None)
    again = f"put it back, or make it anew with the run's own command and --cfg job, or {ANEW}"
    if path is None:
        looked = " or ".join(str(path.parent) for path in paths)
        return False, [], [f"{CONFIG_FILE}: not in {looked}, to compare with; {again}"]
    try:
        then = read_config(path)
    except ValueError as error:
        return False, [], [f"{path}: {error}; {again}"]
    allowed = tuple(config.resume_with)
    problems = [
        _unknown_name(name)
        for name in allowed
        if not has_setting(config, name) and not has_setting(then, name)
    ]
    found = compare(then, config, _defaults())
    warnings = []
    if found.unknown_then:
        warnings.append(
            f"{path} is of another version of this recipe: it has no "
            f"{', '.join(found.unknown_then)}, left at the default here"
        )
    adapted = any(one.actor_rollout_ref.model.get("lora_rank") for one in (then, config))
    for one in found.differences:
        if adapted and is_named(one.name, OF_ADAPTERS):
            problems.append(
                f"{one.name}: {one.now}, but the checkpoint's adapters were made {one.before} "
                f"({path}); set it back, or {ANEW}"
            )
        elif is_named(one.name, allowed):
            warnings.append(
                f"resume_with: {one.name} is {one.now}, the run was started {one.before}"
            )
        else:
            problems.append(
                f"{one.name}: {one.now}, but the run was started {one.before} ({path}); set it "
                f"back, or allow it with resume_with=[{one.name}]"
            )
    return bool(found.differences), warnings, problems


def _unknown_name(name: str) -> str:
    return f"resume_with: {name!r} names no setting; give dotted names as --cfg job shows them"


def _defaults() -> DictConfig:
    from recipe.holderpo.main import config_dir

    defaults = OmegaConf.load(config_dir() / "base.yaml")
    assert isinstance(defaults, DictConfig), "base.yaml has sections"
    return defaults


def _controller_state(
    config: DictConfig, controller: Controller | None, folder: Path, is_refused: bool
) -> tuple[Mapping[str, Any] | None, list[str], list[str]]:
    """What the controller goes on from, tried on a copy; warnings and problems."""
    try:
        state = read_controller_state(folder)
    except FileNotFoundError:
        return None, [], []  # Among the faults.
    except ValueError as error:
        return None, [], [str(error)]
    # Where settings are refused already, it would say the same of p.
    if controller is None or is_refused:
        return None, [], []
    try:
        copy.deepcopy(controller).load_state_dict(state)
    except ValueError as error:
        if any(is_named(name, ("p",)) for name in config.resume_with):
            return (
                None,
                ["resume_with: p goes on by its settings here, without what it had learnt"],
                [],
            )
        return None, [], [f"{error}, or let p go on by its settings here with resume_with=[p]"]
    return state, [], []
