"""From published rows to a checked parquet file: what every set's module does."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.checks import KINDS, Action, Finding, find, read_held_out
from data_prep.files import LocatedRow, find_files, read_rows
from data_prep.hub import hub_revision, read_hub
from data_prep.math_set import MathSet, Problem, fingerprint, read_problems
from data_prep.parquet import file_sha256, verl_row, write_rows
from data_prep.summary import place, print_summary
from holderpo.benchmarks.prompt import render

# The same columns in every set, so that verl can concatenate them.
SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        (
            "reward_model",
            pa.struct([("style", pa.string()), ("ground_truth", pa.list_(pa.string()))]),
        ),
        (
            "extra_info",
            pa.struct(
                [
                    ("split", pa.string()),
                    ("index", pa.int64()),
                    ("template", pa.string()),
                    ("question", pa.string()),
                    ("gold_suspect", pa.bool_()),
                ]
            ),
        ),
    ]
)


@dataclass(frozen=True)
class Settings:
    """How a set is prepared."""

    template: str | None = None
    """Prompt template; None is the set's own."""
    held_out: tuple[Path, ...] = ()
    """Files or folders with problems that must not be in a training set."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    """What is done with the findings of each kind; see :func:`default_actions` for the others."""
    max_rows: int | None = None
    """Take only the first rows; None takes all."""
    any_number_of_rows: bool = False
    """Whether another number of rows than the published one is right."""
    revision: str | None = None
    """Of the hub; None is the set's own."""


def default_actions(math_set: MathSet) -> dict[str, Action]:
    """What is done with findings where nothing is said.

    From training sets they are dropped: a row without a gold answer that can be reached earns
    nothing and costs its rollouts. Evaluation sets stay as published, to be comparable.
    """
    training = math_set.split == "train"
    return {kind: "drop" if training and kind != "lookalike" else "keep" for kind in KINDS}


def prepare(
    math_set: MathSet, *, source: Path | None, folder: Path, settings: Settings
) -> dict[str, Any]:
    """Prepare one set: read, check, write its parquet file, and say so.

    Args:
        math_set: which.
        source: file or folder with its rows; None is the hub.
        folder: where the file goes, as ``train.parquet`` or ``test.parquet``.
        settings: how.

    Returns:
        Entry for the manifest.

    Raises:
        ValueError: for rows that cannot be read, another number of them than published, unknown
            settings, and findings whose action is ``fail``.
    """
    template = settings.template or math_set.template
    render("", template)  # An unknown name fails before anything is read.
    rows, origin = open_source(math_set, source, settings.revision)
    problems = read_problems(islice(rows, settings.max_rows), math_set)
    _check_number(math_set, len(problems), origin, settings)
    same = _same_as_reference(math_set, problems, settings)

    held_out = settings.held_out if math_set.split == "train" else ()
    findings = find(problems, read_held_out(held_out))
    actions = default_actions(math_set) | dict(settings.actions)
    dropped = _dropped(math_set, findings, actions)
    kept = [problem for problem in problems if problem.row not in dropped]
    if not kept:
        raise ValueError(
            f"{math_set.name}: all {len(problems)} rows would be dropped, for "
            f"{', '.join(dict.fromkeys(finding.kind for finding in findings))}; "
            "give other rows, or --on-problem-rows keep"
        )

    path = folder / f"{math_set.split}.parquet"
    before = file_sha256(path)
    entry = write_rows(path, _verl_rows(math_set, kept, template), schema=SCHEMA)
    entry |= {
        "split": math_set.split,
        "source": origin,
        "source_rows": len(problems),
        "expected_rows": math_set.expected_rows,
        "max_rows": settings.max_rows,
        "same_as_reference": same,
        "checks": _check_record(findings, actions, held_out),
        "gold_suspect": [problem.row for problem in kept if problem.gold_suspect],
    }
    state = "unchanged" if before == entry["sha256"] else "written"
    print(f"{path}: {len(kept)} of {len(problems)} rows, template {template}, {state}")
    print_summary(entry, findings)
    return entry


def open_source(
    math_set: MathSet, source: Path | None, revision: str | None
) -> tuple[Iterable[LocatedRow], dict[str, Any]]:
    """Find a set's rows.

    Args:
        math_set: whose.
        source: file or folder; None is the hub.
        revision: of the hub; None is the set's own.

    Returns:
        The rows, read one by one, and where they come from, for the manifest.

    Raises:
        ValueError: where there is nothing to read.
    """
    if source is not None:
        names = (math_set.name, *math_set.file_names)
        files = find_files(source, names=names, split=math_set.split)
        rows = (located for file in files for located in read_rows(file))
        digests = [{"file": str(file), "sha256": file_sha256(file)} for file in files]
        return rows, {"kind": "files", "files": digests}
    if math_set.hub is None:
        raise ValueError(f"{math_set.name}: no hub id is known to have it; {_how_to_get(math_set)}")
    hub = dataclasses.replace(math_set.hub, revision=revision or math_set.hub.revision)
    commit = hub_revision(hub)
    origin = {"kind": "hub", **dataclasses.asdict(hub), "revision": commit}
    if commit != math_set.hub.revision:
        origin["checked"] = False  # What was checked was another commit.
    return read_hub(hub, commit), origin


def _how_to_get(math_set: MathSet) -> str:
    how = "give its file or folder with --source"
    if math_set.repository is not None:
        there = math_set.repository
        how += f" (published as {there.path} in github.com/{there.id}, commit {there.revision})"
    return how


def _check_number(
    math_set: MathSet, number: int, origin: Mapping[str, Any], settings: Settings
) -> None:
    expected = math_set.expected_rows
    if settings.max_rows is not None and number == settings.max_rows:
        return
    if number == 0:
        raise ValueError(f"{math_set.name}: no rows in {place(origin)}")
    if expected is not None and number != expected and not settings.any_number_of_rows:
        raise ValueError(
            f"{math_set.name} ({math_set.split}): {number} rows in {place(origin)} instead of "
            f"{expected}; give the whole set, or --any-number-of-rows if this is meant"
        )


def _same_as_reference(
    math_set: MathSet, problems: Sequence[Problem], settings: Settings
) -> bool | None:
    """Whether these are the reference's rows; None where that is not known."""
    if math_set.fingerprint is None:
        return None
    same = fingerprint(problems) == math_set.fingerprint
    # The first rows cannot be told from others.
    return same or (None if settings.max_rows is not None else False)


def _dropped(
    math_set: MathSet, findings: Sequence[Finding], actions: Mapping[str, Action]
) -> set[int]:
    failing = [finding for finding in findings if actions[finding.kind] == "fail"]
    if failing:
        listed = "; ".join(f"{finding.kind}: {finding}" for finding in failing)
        raise ValueError(f"{math_set.name}: {len(failing)} findings to fail on. {listed}")
    return {finding.row for finding in findings if actions[finding.kind] == "drop"}


def _verl_rows(
    math_set: MathSet, problems: Iterable[Problem], template: str
) -> list[dict[str, Any]]:
    return [
        verl_row(
            data_source=math_set.name,
            prompt=render(problem.text, template),
            answer=list(problem.golds),
            split=math_set.split,
            index=problem.row,
            extra={
                "template": template,
                "question": problem.text,
                "gold_suspect": problem.gold_suspect,
            },
        )
        for problem in problems
    ]


def _check_record(
    findings: Sequence[Finding], actions: Mapping[str, Action], held_out: Sequence[Path]
) -> dict[str, Any]:
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append({"row": finding.row, **finding.details})
    record: dict[str, Any] = {
        kind: {"meaning": meaning, "action": actions[kind], "found": by_kind[kind]}
        for kind, meaning in KINDS.items()
    }
    record["overlap"]["held_out"] = [str(path) for path in held_out]
    return record


def manifest_about(math_set: MathSet, settings: Settings) -> dict[str, Any]:
    """What the manifest says of a set besides its files."""
    there = math_set.repository
    return {
        "data_set": math_set.name,
        "template": settings.template or math_set.template,
        "licence": math_set.licence,
        "also_published": dataclasses.asdict(there) if there else None,
    }
