"""The report of a protocol: tables in Markdown and pictures, from its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from holderpo.lab.cell_results import CellResult, read_cells
from holderpo.lab.lab_pictures import draw_regime
from holderpo.lab.lab_tables import (
    best_clip_sheet,
    difference_sheet,
    explain_references,
    outcome_sheet,
    ratio_sheet,
)
from holderpo.lab.paired_differences import (
    BEST_STATIC,
    MAIN,
    TOKEN_CLIPPED,
    Comparison,
    compare_part,
    num_compared,
    references,
)
from holderpo.lab.planned_runs import PlannedRuns, RegimeRuns, match
from holderpo.lab.protocol import Protocol, read_protocol
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
    return [*missing, *_others(planned), f"written: {out / TABLES}, {pictures}"]


def _head(
    plan: Protocol, planned: PlannedRuns, rule: CollapseRule, bootstrap: Bootstrap
) -> Iterator[str]:
    yield "# Runs of the laboratory"
    yield (
        "Made by `python -m holderpo.lab report` from the results of "
        "`python -m holderpo.lab sweep`; not to be edited."
    )
    yield markdown(_summary(planned))
    yield from _made_with(planned)
    yield from _others(planned)
    yield from _repeats(planned)
    yield "## How to read the tables"
    yield "\n".join(f"- {line}" for line in _explain(rule, bootstrap))


def _summary(planned: PlannedRuns) -> Sheet:
    rows = []
    for part, regimes in planned.parts.items():
        seconds = sum(result.seconds for result in _results(regimes))
        there = _num_planned(regimes) - _num_missing(regimes)
        state = "finished" if not _num_missing(regimes) else "unfinished" if there else "not run"
        counts = [str(_num_planned(regimes)), str(there), str(_num_missing(regimes))]
        rows.append([part, *counts, f"{seconds / 3600:.2f}", state])
    return Sheet("", ["part", "planned runs", "there", "missing", "hours", ""], rows)


def _explain(rule: CollapseRule, bootstrap: Bootstrap) -> Iterator[str]:
    yield (
        f"{MAIN}: mean sampled reward over all rounds of a run; first 8 and last 8: over those "
        "rounds. Held out: share of right greedy answers to 512 problems that no round has. "
        "All are means over n runs; a run is a seed and a seed of the model it starts from, "
        "written as 3.1."
    )
    yield (
        "In brackets: 95 % interval, percentiles of "
        f"{bootstrap.num_resamples} bootstrap resamples of the runs (for differences: of the "
        "pairs). It is too narrow for few runs: of normal values it has the true mean in 75 % of "
        "the cases with 3, 83 % with 5, 90 % with 10. Runs that start from one model have that "
        "in common: nothing here tells how far other models would differ."
    )
    yield (
        f"Middle half: mean {MAIN} without the best and the worst quarter of the runs "
        "(interquartile mean)."
    )
    yield (
        f"Collapsed: {rule.describe('sampled reward')}. Ended lower: the last 8 rounds are below "
        "the first 8."
    )
    yield (
        "Clipped: share of the responses whose ratio is clipped; with one clip per token, share "
        "of the tokens. ESS: effective share of a response's tokens. Log-ratios (nats): "
        "smallest and largest of a round; 5 % and 95 %: these quantiles within a response, "
        "averaged over responses. A: advantage. Skipped: updates of a round without a finite "
        "gradient. Gradient norm: before it is cut. All are means over rounds, then over runs."
    )
    yield (
        "The best static order is the one of the highest mean "
        f"{MAIN} in the same part, regime and clip range. It is chosen by the same runs that it "
        "is then compared in, which favours it."
    )
    yield (
        "Differences are between runs of one seed and one model; runs without a partner are left "
        "out and counted. p: share of all choices of signs of the differences "
        f"in {MAIN} whose mean is as far from 0 (two-sided; with n pairs at least 2 / 2^n). "
        "p, corrected: by Holm, for all comparisons of the part; one that lacks runs counts "
        "among them. Other outcomes have intervals only, not corrected. Better in: share of the "
        "pairs in which the arm is the better one (probability of improvement), equal ones "
        "counting half, with Wilson's interval. By model: mean difference for each seed of the "
        "model."
    )


def _made_with(planned: PlannedRuns) -> Iterator[str]:
    regimes = [runs for of_part in planned.parts.values() for runs in of_part]
    counted = Counter(
        ", ".join(f"{name} {version}" for name, version in result.versions.items())
        for result in _results(regimes)
    )
    if counted:
        yield "Made with: " + "; ".join(f"{kind} ({n} runs)" for kind, n in counted.items()) + "."


def _others(planned: PlannedRuns) -> Iterator[str]:
    counted = Counter(f"{one.part}, {one.regime}, {one.arm}" for one in planned.others)
    if counted:
        kinds = "; ".join(f"{kind} ({number})" for kind, number in counted.items())
        yield f"Left out, as the protocol has no such run: {kinds}."


def _repeats(planned: PlannedRuns) -> Iterator[str]:
    """The same cell run again: what of a difference is not the arm's doing."""
    if not planned.repeats:
        return
    spans = [_span([run.windows["all"]["reward"] for run in runs]) for runs in planned.repeats]
    rounds = [
        max(map(_span, zip(*(run.curves["reward"] for run in runs), strict=False)))
        for runs in planned.repeats
    ]
    yield (
        f"Exact repeats: {len(spans)}, cells that were run more than once; the first run counts. "
        f"Within a cell {MAIN} differs by at most {max(spans):.4f}, the reward of a round by at "
        f"most {max(rounds):.4f}."
    )


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values)


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
            yield f"{num_compared(comparisons)} comparisons, for which p is corrected."
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
    for kind in (BEST_STATIC, TOKEN_CLIPPED):
        of_kind = [one for one in comparisons if one.reference.kind == kind]
        if of_kind:
            yield f"Against {kind}:"
            yield markdown(difference_sheet(of_kind))
    best = best_clip_sheet(runs, bootstrap)
    if best is not None:
        yield (
            "Each arm at the clip range of its highest mean, against the best static order at its "
            "own. Both are chosen by these runs, so there is no p:"
        )
        yield markdown(best)


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


def _results(regimes: Sequence[RegimeRuns]) -> list[CellResult]:
    """Each run once, though two parts may share it."""
    found = {
        result.digest: result
        for runs in regimes
        for arm in runs.arms
        for result in arm.results.values()
    }
    return list(found.values())


def _num_planned(regimes: Sequence[RegimeRuns]) -> int:
    return sum(arm.num_planned for runs in regimes for arm in runs.arms)


def _num_missing(regimes: Sequence[RegimeRuns]) -> int:
    return sum(arm.missing for runs in regimes for arm in runs.arms)
