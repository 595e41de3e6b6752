"""The report of a protocol: tables in Markdown and pictures, from its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from holderpo.lab.cell_results import read_cells
from holderpo.lab.lab_pictures import draw_regime
from holderpo.lab.lab_tables import (
    best_clip_sheet,
    difference_sheet,
    explain_references,
    outcome_sheet,
    ratio_sheet,
    setting_sheet,
)
from holderpo.lab.pair_statistics import smallest_p_value
from holderpo.lab.paired_differences import (
    BEST_STATIC,
    FAMILIES,
    LARGEST_P,
    Comparison,
    compare_apart,
    compare_part,
    references,
)
from holderpo.lab.planned_runs import PlannedRuns, RegimeRuns, match
from holderpo.lab.protocol import Protocol, read_protocol
from holderpo.lab.report_notes import exact_repeats, explain, made_with, not_planned, results_of
from holderpo.sheets import Sheet, markdown
from holderpo.studies.arms import Bootstrap, CollapseRule
from holderpo.whole_files import write_whole

TABLES = "tables.md"
PICTURES = "pictures"


def make_report(
    protocol: Path, results: Sequence[Path], out: Path, bootstrap: Bootstrap
) -> list[str]:
    """Write ``tables.md`` and ``pictures/`` into a folder.

    Args:
        protocol: what was planned.
        results: files of the sweep; a cell that is in them again is an exact repeat.
        out: the folder, made if it is not there.
        bootstrap: for the intervals.

    Returns:
        Lines for the screen: what was written, and what is missing.

    Raises:
        ValueError: naming the option, its value and the fix.
    """
    for path in results:
        if not path.is_file():
            raise ValueError(f"--results: {path} does not exist; make it with the command sweep")
    plan = read_protocol(protocol)
    cells = [result for path in results for result in read_cells(path)]
    rule = CollapseRule()
    planned = match(plan, cells, bootstrap=bootstrap, rule=rule)
    try:
        pictures = out / PICTURES
        pictures.mkdir(parents=True, exist_ok=True)
        sections = list(_sections(plan, planned, pictures, bootstrap))
        head = _head(plan, planned, rule, bootstrap)
        write_whole(out / TABLES, "\n\n".join([*head, *sections]) + "\n")
    except OSError as error:
        raise ValueError(f"--out: {error}; give a folder that can be written") from error
    missing = [
        f"part {part}: {_num_missing(regimes)} of {_num_planned(regimes)} runs missing"
        for part, regimes in planned.parts.items()
        if _num_missing(regimes)
    ]
    return [*missing, *not_planned(planned), f"written: {out / TABLES}, {pictures}"]


def _head(
    plan: Protocol, planned: PlannedRuns, rule: CollapseRule, bootstrap: Bootstrap
) -> Iterator[str]:
    yield "# Runs of the laboratory"
    yield (
        "Made by `python -m holderpo.lab report` from the results of "
        "`python -m holderpo.lab sweep`; not to be edited."
    )
    yield markdown(_summary(planned))
    yield from made_with(planned)
    yield from not_planned(planned)
    yield from exact_repeats(planned)
    yield "## How to read the tables"
    yield "\n".join(f"- {line}" for line in explain(rule, bootstrap))


def _summary(planned: PlannedRuns) -> Sheet:
    rows = []
    for part, regimes in planned.parts.items():
        seconds = sum(result.seconds for result in results_of(regimes))
        there = _num_planned(regimes) - _num_missing(regimes)
        state = "finished" if not _num_missing(regimes) else "unfinished" if there else "not run"
        counts = [str(_num_planned(regimes)), str(there), str(_num_missing(regimes))]
        rows.append([part, *counts, f"{seconds / 3600:.2f}", state])
    return Sheet("", ["part", "planned runs", "there", "missing", "hours", ""], rows)


def _sections(
    plan: Protocol, planned: PlannedRuns, pictures: Path, bootstrap: Bootstrap
) -> Iterator[str]:
    for part, regimes in planned.parts.items():
        yield f"## Part {part}: {plan.questions[part]}"
        if _num_missing(regimes) == _num_planned(regimes):
            yield f"Not run: {_num_planned(regimes)} runs are planned."
            continue
        comparisons = compare_part(regimes, bootstrap)
        if comparisons:
            yield _families(comparisons)
            yield markdown(setting_sheet(regimes, comparisons))
        for runs in regimes:
            yield f"### {part}, {runs.regime}"
            own = [one for one in comparisons if one.regime == runs.regime]
            yield from _regime(runs, own, bootstrap)
            for picture in draw_regime(runs, pictures, bootstrap):
                yield f"![{picture.caption}]({PICTURES}/{picture.name})"


def _regime(
    runs: RegimeRuns, comparisons: Sequence[Comparison], bootstrap: Bootstrap
) -> Iterator[str]:
    if lacking := list(_missing(runs)):
        yield f"Missing runs: {'; '.join(lacking)}."
    yield markdown(outcome_sheet(runs))
    yield markdown(ratio_sheet(runs))
    chosen = {clip: references(runs, clip) for clip in runs.clips}
    if comparisons:
        yield "\n".join(f"- {line}" for line in explain_references(chosen))
    for kind in (kind for kinds in FAMILIES for kind in kinds):
        of_kind = [one for one in comparisons if one.reference.kind == kind]
        if of_kind:
            yield f"Against {kind}:"
            yield markdown(difference_sheet(of_kind))
    apart = [one for clip in runs.clips for one in compare_apart(runs, clip, bootstrap)]
    if apart:
        yield f"Against {BEST_STATIC}, chosen on even seeds and compared on odd ones:"
        yield markdown(difference_sheet(apart, is_corrected=False))
    best = best_clip_sheet(runs, bootstrap)
    if best is not None:
        yield (
            "Each arm at the clip range of its highest mean, against the best static order at its "
            "own. Both are chosen by these runs, so there is no p:"
        )
        yield markdown(best)


def _families(comparisons: Sequence[Comparison]) -> str:
    """How many comparisons p is corrected for, and whether any can count then."""
    sentences = []
    for kinds in FAMILIES:
        family = [one for one in comparisons if one.reference.kind in kinds]
        if not family:
            continue
        whom = " or ".join(dict.fromkeys(one.reference.kind for one in family))
        sentences.append(f"p is corrected for {len(family)} comparisons with {whom}.")
        num_pairs = max(one.num_planned_pairs for one in family)
        least = smallest_p_value(num_pairs) * len(family)
        if least >= LARGEST_P:
            sentences.append(
                f"**No difference can count there**: of {num_pairs} pairs p is at least "
                f"{smallest_p_value(num_pairs):.2g}, corrected {min(1, least):.2g}."
            )
    return " ".join(sentences)


def _missing(runs: RegimeRuns) -> Iterator[str]:
    """Runs that are not there, arms that lack the same ones together."""
    arms: dict[tuple[int, ...], list[str]] = {}
    for arm in runs.arms:
        if absent := tuple(sorted(set(range(len(runs.pairs))) - arm.results.keys())):
            arms.setdefault(absent, []).append(arm.name)
    for absent, names in arms.items():
        pairs = ", ".join(str(runs.pairs[number]) for number in absent)
        who = "every arm" if len(names) == len(runs.arms) else ", ".join(names)
        yield f"{pairs} of {who}"


def _num_planned(regimes: Sequence[RegimeRuns]) -> int:
    return sum(arm.num_planned for runs in regimes for arm in runs.arms)


def _num_missing(regimes: Sequence[RegimeRuns]) -> int:
    return sum(arm.missing for runs in regimes for arm in runs.arms)
