"""From folders and results files to arms that can be compared, with all that was left out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from holderpo.metrics import REWARD_MEAN
from holderpo.studies.arms import (
    HELD_OUT,
    Arm,
    Bootstrap,
    CollapseRule,
    Difference,
    RunNumbers,
    group_arms,
    numbers_of_result,
    numbers_of_run,
    subtract,
)
from holderpo.studies.held_out import describe_not_finite
from holderpo.studies.results import Result, read_results
from holderpo.studies.run_files import find_runs, name_steps
from holderpo.studies.runs import Run, differing_settings, read_run
from holderpo.studies.windows import ALL, FIRST_8, LAST_8, Window


@dataclass(frozen=True)
class StudySettings:
    """What is compared, and how."""

    metric: str = REWARD_MEAN
    """A name in the metrics files."""
    windows: tuple[Window, ...] = (ALL, FIRST_8, LAST_8)
    """Steps that the metric is averaged over."""
    baseline: str | None = None
    """The arm that others are compared with."""
    include_unfinished: bool = False
    """Whether unfinished runs count."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    """Of the intervals."""
    rule: CollapseRule = field(default_factory=CollapseRule)
    """When a run has collapsed."""


class Sources(NamedTuple):
    """What was read."""

    runs: list[Run]
    """Of folders."""
    results: list[tuple[str, Result]]
    """Lines of results files, with the file's name."""
    notes: list[str]
    """What a reader should know."""
    problems: list[str]
    """What could not be read."""


class Study(NamedTuple):
    """Everything a report shows."""

    settings: StudySettings
    arms: list[Arm]
    differences: list[Difference]
    """Of each other arm from the baseline; empty without one."""
    unfinished: list[Run]
    """Found unfinished; whether they count is in the settings."""
    notes: list[str]
    """What a reader of the numbers should know."""
    problems: list[str]
    """Runs and lines that do not, and why."""


def read_sources(paths: Iterable[Path], sweep: Path | None) -> Sources:
    """Read run folders and results files.

    Args:
        paths: run folders, or results files.
        sweep: a folder with run folders somewhere below.

    Returns:
        What was found; a run that is there twice counts once.

    Raises:
        ValueError: if ``sweep`` is no folder.
    """
    sources = Sources([], [], [], [])
    folders: list[Path] = []
    files: list[Path] = []
    for path in paths:
        (folders if path.is_dir() else files).append(path)
    if sweep is not None:
        found, notes = find_runs(sweep)
        folders += found
        sources.notes.extend(notes)
        if not found:
            sources.problems.append(f"--sweep: no run folder below {sweep}")
    for folder in {path.resolve(): path for path in folders}.values():
        try:
            sources.runs.append(read_run(folder))
        except (ValueError, OSError) as error:
            sources.problems.append(str(error))
    for file in {path.resolve(): path for path in files}.values():
        try:
            results, problems = read_results(file)
        except (ValueError, OSError) as error:
            sources.problems.append(str(error))
            continue
        sources.results.extend((str(file), result) for result in results)
        sources.problems.extend(problems)
    _drop_recorded(sources)
    return sources


def _drop_recorded(sources: Sources) -> None:
    """A line whose run is there as a folder or in an earlier file does not count again."""
    known = {run.config_hash: str(run.folder) for run in sources.runs if not run.unfinished}
    kept = []
    for file, result in sources.results:
        if result.config_hash in known:
            sources.notes.append(
                f"{file}: {result.arm}, seed {result.seed} is the run of "
                f"{known[result.config_hash]}, counted once"
            )
        else:
            known[result.config_hash] = file
            kept.append((file, result))
    sources.results[:] = kept


def make_study(sources: Sources, settings: StudySettings) -> Study:
    """Compare what was read.

    Args:
        sources: of :func:`read_sources`.
        settings: what to compare.

    Returns:
        The study.

    Raises:
        ValueError: if nothing is left to compare, or there is no such baseline or metric.
    """
    unfinished = [run for run in sources.runs if run.unfinished]
    runs = [run for run in sources.runs if settings.include_unfinished or not run.unfinished]
    _check_metric(settings.metric, runs)
    problems, gaps = list(sources.problems), list[str]()
    numbers = [
        numbers_of_run(run, settings.metric, settings.windows, settings.rule) for run in runs
    ]
    for file, result in sources.results:
        try:
            numbers.append(
                numbers_of_result(result, file, settings.metric, settings.windows, settings.rule)
            )
            if result.steps_left_out:
                gaps.append(
                    f"{file}: {result.arm}, seed {result.seed}: {settings.metric} is missing or "
                    f"not finite in {result.steps_left_out} of {result.steps} steps, which are "
                    "left out"
                )
        except ValueError as error:
            problems += [str(error)] if str(error) not in problems else []
    numbers = _without_duplicates(numbers, problems)
    arms = group_arms(numbers, settings.bootstrap)
    if not arms:
        reasons = [*problems, *(f"{run.folder}: {run.unfinished}" for run in unfinished)]
        raise ValueError("\n  ".join(["no finished run to compare", *reasons]))
    used = {number.source for number in numbers}
    counted = [run for run in runs if str(run.folder) in used]
    notes = [*sources.notes, *(note for run in sources.runs for note in run.notes), *gaps]
    notes += [*_notes(counted, settings), *_arm_notes(arms, counted)]
    return Study(settings, arms, _subtract_all(arms, settings), unfinished, notes, problems)


def _check_metric(metric: str, runs: Sequence[Run]) -> None:
    names = {name for run in runs for row in run.rows for name in row}
    if names and metric not in names:
        close = difflib.get_close_matches(metric, sorted(names), n=4, cutoff=0.4)
        raise ValueError(
            f"--metric: {metric!r} is in no run; near are {', '.join(close) or 'none'}"
        )


def _without_duplicates(numbers: list[RunNumbers], problems: list[str]) -> list[RunNumbers]:
    """Two runs of one arm and seed: neither counts, as nothing says which should."""
    by_key: dict[tuple[str, int], list[RunNumbers]] = {}
    for number in numbers:
        by_key.setdefault((number.arm, number.seed), []).append(number)
    for (arm, seed), same in by_key.items():
        if len(same) > 1:
            where = ", ".join(number.source for number in same)
            problems.append(f"{arm}, seed {seed}: {len(same)} runs ({where}); give one of them")
    return [same[0] for same in by_key.values() if len(same) == 1]


def _subtract_all(arms: Sequence[Arm], settings: StudySettings) -> list[Difference]:
    if settings.baseline is None:
        return []
    by_name = {arm.name: arm for arm in arms}
    if settings.baseline not in by_name:
        raise ValueError(f"--baseline: {settings.baseline!r}; the arms are {', '.join(by_name)}")
    baseline = by_name[settings.baseline]
    return [subtract(arm, baseline, settings.bootstrap) for arm in arms if arm is not baseline]


def _notes(runs: Sequence[Run], settings: StudySettings) -> list[str]:
    """What is unusual about single runs."""
    notes: list[str] = []
    for run in runs:
        for metric in dict.fromkeys((settings.metric, REWARD_MEAN)):
            notes += run.describe_gaps(metric)
        num_steps, held_out = len(run.steps), run.held_out()
        for window in settings.windows:
            if window.size > num_steps:
                notes.append(f"{run.metrics_path}: only {num_steps} steps for {window.heading}")
        if not_finite := describe_not_finite(run.rows):
            notes.append(f"{run.metrics_path}: {not_finite}, left out")
        if held_out.after is None:
            notes.append(f"{run.metrics_path}: no held-out accuracy after training")
        elif held_out.after_step != run.steps[-1]:
            notes.append(
                f"{run.metrics_path}: last held-out accuracy is of step {held_out.after_step} of "
                f"{run.steps[-1]}"
            )
        if run.unfinished:
            notes.append(f"{run.folder}: unfinished ({run.unfinished}), counted all the same")
    return notes


def _arm_notes(arms: Sequence[Arm], runs: Sequence[Run]) -> list[str]:
    """What is unequal within an arm."""
    notes = []
    for arm in arms:
        lengths: dict[int, list[str]] = {}
        for number in arm.runs:
            lengths.setdefault(number.steps, []).append(f"seed {number.seed} in {number.source}")
        if len(lengths) > 1:
            shown = "; ".join(f"{steps} steps: {', '.join(lengths[steps])}" for steps in lengths)
            notes.append(f"{arm.name}: runs differ in length, each counts as it is ({shown})")
        own = [run for run in runs if run.arm == arm.name]
        different = differing_settings(own)
        if different:
            more = f" and {len(different) - 5} more" if len(different) > 5 else ""
            where = ", ".join(str(run.folder) for run in own)
            notes.append(
                f"{arm.name}: runs differ in more than the seed: {', '.join(different[:5])}{more} "
                f"({where})"
            )
        for heading, spread in arm.spreads.items():
            if heading != HELD_OUT and len(spread.by_seed) < len(arm.runs):
                lacking = sorted(set(arm.seeds) - set(spread.by_seed))
                notes.append(
                    f"{arm.name}: {heading} without seed {name_steps(lacking)}, which have no value"
                )
    return notes
