"""A comparison of arms as Markdown, JSON, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from holderpo.sheets import Sheet, fit, markdown, show
from holderpo.studies.arms import HELD_OUT, HELD_OUT_TRUNCATED, Arm, Difference, Spread
from holderpo.studies.run_files import name_steps
from holderpo.studies.study import Study

_SPREAD_HEADINGS = ("value", "arm", "n", "mean", "sd", "95 % interval")
# Names of this length always stand in the tables; numbered ones have it too.
_SHORTEST_NAME = 6


def make_sheets(study: Study) -> list[Sheet]:
    """The tables of a study: arms, their means, pairs, their differences.

    Args:
        study: to show.

    Returns:
        Them, in this order, as wide as a terminal; those without rows are left out.
    """
    labels = label_arms(study)
    return [part for sheet, keys in _sheets(study, labels) for part in fit(sheet, num_keys=keys)]


def label_arms(study: Study) -> dict[str, str]:
    """What each arm is called in the tables: its name, or a number where there is no room for it.

    Args:
        study: to show.

    Returns:
        Labels by name, for all arms.
    """
    names = [arm.name for arm in study.arms]
    labels = {name: name for name in names}
    for longest in sorted({_SHORTEST_NAME, *map(len, names)}, reverse=True):
        labels = {
            name: name if len(name) <= longest else f"arm {number}"
            for number, name in enumerate(names, start=1)
        }
        if all(len(fit(sheet, num_keys=keys)) == 1 for sheet, keys in _sheets(study, labels)):
            break
    return labels


def _sheets(study: Study, labels: Mapping[str, str]) -> Iterator[tuple[Sheet, int]]:
    """The tables of any width, each with the number of columns that say what a row is about."""
    headings = [window.heading for window in study.settings.windows]
    headings += [HELD_OUT, HELD_OUT_TRUNCATED]
    yield (
        Sheet(
            "Arms",
            ["arm", "n", "seeds", "steps", "collapsed"],
            [_arm_row(arm, labels) for arm in study.arms],
            broken=("seeds", "steps"),
        ),
        1,
    )
    own = [(arm.name, arm.spreads) for arm in study.arms]
    yield Sheet("Means over seeds", _SPREAD_HEADINGS, _spread_rows(headings, own, labels)), 2
    if not study.differences:
        return
    title = f"Differences from {labels[study.settings.baseline or '']}"
    yield (
        Sheet(
            f"{title}: pairs",
            ["arm", "pairs", "seeds", "left out"],
            [_pairs_row(one, labels) for one in study.differences],
            broken=("seeds", "left out"),
        ),
        1,
    )
    of_pairs = [(one.arm, one.spreads) for one in study.differences]
    rows = _spread_rows(headings, of_pairs, labels, sign="+")
    if rows:
        yield Sheet(f"{title}: means over pairs", _SPREAD_HEADINGS, rows), 2


def _arm_row(arm: Arm, labels: Mapping[str, str]) -> list[str]:
    lengths = sorted({run.steps for run in arm.runs})
    collapsed, defined = arm.collapsed
    return [
        labels[arm.name],
        str(len(arm.runs)),
        name_steps(arm.seeds),
        name_steps(lengths),
        f"{collapsed} of {defined}" if defined else "not defined",
    ]


def _pairs_row(difference: Difference, labels: Mapping[str, str]) -> list[str]:
    left_out = [
        f"{name_steps(seeds)} ({whose})"
        for whose, seeds in (
            ("only here", difference.only_arm),
            ("only baseline", difference.only_baseline),
        )
        if seeds
    ]
    return [
        labels[difference.arm],
        str(len(difference.paired_seeds)),
        name_steps(difference.paired_seeds) or "none in common",
        "; ".join(left_out) or "none",
    ]


def _spread_rows(
    headings: Sequence[str],
    spreads: Sequence[tuple[str, Mapping[str, Spread]]],
    labels: Mapping[str, str],
    *,
    sign: str = "",
) -> list[list[str]]:
    """A row for each value of each arm; the same value of all arms together."""
    return [
        [heading, labels[name], *_cells(of_arm.get(heading), sign)]
        for heading in headings
        if any(heading in of_arm for _, of_arm in spreads)
        for name, of_arm in spreads
    ]


def _cells(spread: Spread | None, sign: str) -> list[str]:
    """Number of seeds, mean, deviation and interval."""
    if spread is None:
        return ["0", "-", "-", "none"]
    low, high = spread.interval or (0.0, 0.0)
    form = _form(spread.mean, spread.sd or 0.0, low, high)
    num = str(len(spread.by_seed))
    if spread.sd is None or spread.interval is None:
        return [num, form(spread.mean, sign), "-", "none"]
    interval = f"{form(low, sign)} to {form(high, sign)}"
    return [num, form(spread.mean, sign), form(spread.sd, ""), interval]


def _form(*values: float) -> Callable[[float, str], str]:
    """How numbers of this size are written: three decimals, or four digits of any others."""
    largest = max(map(abs, values))
    kind = ".3f" if largest == 0 or 0.01 <= largest < 1000 else ".4g"
    return lambda value, sign: f"{value:{sign}{kind}}"


def explain(study: Study) -> list[str]:
    """What the numbers are, in sentences."""
    bootstrap, rule = study.settings.bootstrap, study.settings.rule
    lines = [
        f"Metric: {study.settings.metric}, averaged over the steps of a run: AUC is the mean over "
        "all of them; then over seeds. Held out is the last held-out accuracy, a fraction; "
        "truncated the share of its answers that were cut off, where that is known.",
        "sd: sample standard deviation over the n seeds that have the value. 95 % interval: "
        f"percentiles of {bootstrap.num_resamples} bootstrap resamples of seeds, draws of seed "
        f"{bootstrap.seed}. For few seeds such an interval is too narrow: of normal values it has "
        "the true mean in 50 % of the cases with 2 seeds, 75 % with 3, 83 % with 5, 90 % with 10. "
        "One seed has none. Nothing is corrected for the number of comparisons.",
        f"Collapsed: {rule}. Counts are of the runs for which it is defined.",
    ]
    if not study.settings.baseline:
        lines.append("Differences: none, as no --baseline is named.")
    return lines


def _names(study: Study) -> list[str]:
    return [f"{label}: {name}" for name, label in label_arms(study).items() if label != name]


def _lists(study: Study) -> list[tuple[str, list[str]]]:
    """What is said in sentences below the tables, by title."""
    counted = "counted" if study.settings.include_unfinished else "not counted"
    unfinished = [
        f"{run.folder}: {run.arm}, seed {run.seed}, {run.unfinished}" for run in study.unfinished
    ]
    lists = [
        (f"Unfinished runs, {counted}", unfinished),
        ("Left out", study.problems),
        ("Notes", study.notes),
    ]
    return [(title, sentences) for title, sentences in lists if sentences]


def to_markdown(study: Study) -> str:
    """The whole report.

    Args:
        study: to show.

    Returns:
        Markdown.
    """
    parts = ["# Comparison"]
    if names := _names(study):
        parts.append(_listed(names))
    for sheet in make_sheets(study):
        parts += [f"## {sheet.title}", markdown(sheet)]
    parts += explain(study)
    for title, sentences in _lists(study):
        parts += [f"## {title}", _listed(sentences)]
    return "\n\n".join(parts) + "\n"


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def print_study(study: Study, console: Console) -> None:
    """The same on a screen.

    Args:
        study: to show.
        console: where.
    """
    if names := _names(study):
        console.print(escape(_listed(names)), highlight=False, soft_wrap=True)
    for sheet in make_sheets(study):
        show(sheet, console)
    for line in explain(study):
        console.print(escape(line), highlight=False)
    for title, sentences in _lists(study):
        console.print(f"[bold]{escape(title)}[/bold]")
        console.print(escape(_listed(sentences)), highlight=False, soft_wrap=True)


def to_json(study: Study) -> dict[str, Any]:
    """The numbers for a program.

    Args:
        study: to show.

    Returns:
        JSON-serialisable; an interval of one seed is null.
    """
    settings = study.settings
    return {
        "metric": settings.metric,
        "steps": {window.heading: window.name for window in settings.windows},
        "bootstrap": {
            "method": "percentile",
            "unit": "seed",
            "resamples": settings.bootstrap.num_resamples,
            "seed": settings.bootstrap.seed,
        },
        "collapse": {
            "definition": str(settings.rule),
            "window": settings.rule.size,
            "fraction": settings.rule.fraction,
        },
        "arms": [_arm_entry(arm) for arm in study.arms],
        "baseline": settings.baseline,
        "differences": [
            {
                "arm": one.arm,
                "pairs": len(one.paired_seeds),
                "paired_seeds": one.paired_seeds,
                "only_arm": one.only_arm,
                "only_baseline": one.only_baseline,
                "statistics": _spreads(one.spreads),
            }
            for one in study.differences
        ],
        "unfinished": [
            {
                "source": str(run.folder),
                "arm": run.arm,
                "seed": run.seed,
                "state": run.unfinished,
                "counted": settings.include_unfinished,
            }
            for run in study.unfinished
        ],
        "left_out": study.problems,
        "notes": study.notes,
    }


def _arm_entry(arm: Arm) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "n": len(arm.runs),
        "seeds": arm.seeds,
        "collapsed": arm.collapsed[0],
        "collapse_defined": arm.collapsed[1],
        "statistics": _spreads(arm.spreads),
        "runs": [
            {
                "source": run.source,
                "seed": run.seed,
                "steps": run.steps,
                "collapsed": run.collapsed,
            }
            for run in arm.runs
        ],
    }


def _spreads(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    return {
        heading: {
            "mean": spread.mean,
            "sd": spread.sd,
            "interval": None if spread.interval is None else list(spread.interval),
            "n": len(spread.by_seed),
            "by_seed": {str(seed): value for seed, value in spread.by_seed.items()},
        }
        for heading, spread in sorted(spreads.items())
    }
