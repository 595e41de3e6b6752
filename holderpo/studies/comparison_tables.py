"""A comparison of arms as Markdown, JSON, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holderpo.studies.arms import HELD_OUT, Arm, Difference, Spread
from holderpo.studies.run_files import name_steps
from holderpo.studies.study import Study


class Sheet(NamedTuple):
    """A table: the same for Markdown and terminal."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def make_sheets(study: Study) -> list[Sheet]:
    """The tables of a study: arms, differences, unfinished runs; those without rows are left out.

    Args:
        study: to show.

    Returns:
        Them, in this order.
    """
    columns = [window.heading for window in study.settings.windows]
    if any(HELD_OUT in arm.spreads for arm in study.arms):
        columns.append(HELD_OUT)
    arms = Sheet(
        "Arms",
        ["arm", "n", "seeds", "steps", *columns, "collapsed"],
        [_arm_row(arm, columns) for arm in study.arms],
    )
    differences = Sheet(
        f"Differences from {study.settings.baseline}, by seed",
        ["arm", "pairs", "seeds", "left out", *columns],
        [_difference_row(one, columns) for one in study.differences],
    )
    counted = "counted" if study.settings.include_unfinished else "not counted"
    unfinished = Sheet(
        f"Unfinished runs, {counted}",
        ["run", "arm", "seed", "state"],
        [
            [str(run.folder), run.arm, str(run.seed), run.unfinished or ""]
            for run in study.unfinished
        ],
    )
    return [sheet for sheet in (arms, differences, unfinished) if sheet.rows]


def _arm_row(arm: Arm, columns: Sequence[str]) -> list[str]:
    lengths = sorted({run.steps for run in arm.runs})
    collapsed, defined = arm.collapsed
    return [
        arm.name,
        str(len(arm.runs)),
        name_steps(arm.seeds),
        name_steps(lengths),
        *(_cell(arm.spreads.get(column), len(arm.runs)) for column in columns),
        f"{collapsed} of {defined}" if defined else "not defined",
    ]


def _difference_row(difference: Difference, columns: Sequence[str]) -> list[str]:
    left_out = [
        f"{name_steps(seeds)} ({whose})"
        for whose, seeds in (
            ("only here", difference.only_arm),
            ("only baseline", difference.only_baseline),
        )
        if seeds
    ]
    num_pairs = len(difference.paired_seeds)
    return [
        difference.arm,
        str(num_pairs),
        name_steps(difference.paired_seeds) or "none in common",
        "; ".join(left_out) or "none",
        *(_cell(difference.spreads.get(column), num_pairs, sign="+") for column in columns),
    ]


def _cell(spread: Spread | None, num_expected: int, *, sign: str = "") -> str:
    """Mean, deviation and interval, and the number of seeds where it is not that of the row."""
    if spread is None:
        return "-"
    form = f"{{:{sign}.3f}}".format
    num = len(spread.by_seed)
    if spread.sd is None or spread.interval is None:
        return f"{form(spread.mean)} (n = 1, no interval)"
    low, high = spread.interval
    fewer = f", n = {num}" if num != num_expected else ""
    return f"{form(spread.mean)} ± {spread.sd:.3f} ({form(low)} to {form(high)}{fewer})"


def explain(study: Study) -> list[str]:
    """What the numbers are, in sentences."""
    bootstrap, rule = study.settings.bootstrap, study.settings.rule
    lines = [
        f"Metric: {study.settings.metric}, averaged over the steps of a run: AUC is the mean over "
        "all of them; then over seeds. Held out is the last held-out accuracy, a fraction.",
        "A cell is mean ± sample standard deviation over seeds (95 % interval: percentiles of "
        f"{bootstrap.num_resamples} bootstrap resamples of seeds, draws of seed {bootstrap.seed}). "
        "For few seeds such an interval is too narrow: of normal values it has the true mean in "
        "50 % of the cases with 2 seeds, 75 % with 3, 83 % with 5, 90 % with 10. One seed has "
        "none. Nothing is corrected for the number of comparisons.",
        f"Collapsed: {rule}. Counts are of the runs for which it is defined.",
    ]
    if not study.settings.baseline:
        lines.append("Differences: none, as no --baseline is named.")
    return lines


def to_markdown(study: Study) -> str:
    """The whole report.

    Args:
        study: to show.

    Returns:
        Markdown.
    """
    parts = ["# Comparison"]
    for sheet in make_sheets(study):
        rows = [sheet.headings, ["---"] * len(sheet.headings), *sheet.rows]
        lines = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
        ]
        parts += [f"## {sheet.title}", "\n".join(lines)]
    parts += explain(study)
    for title, sentences in (("Left out", study.problems), ("Notes", study.notes)):
        if sentences:
            parts += [f"## {title}", "\n".join(f"- {sentence}" for sentence in sentences)]
    return "\n\n".join(parts) + "\n"


def print_study(study: Study, console: Console) -> None:
    """The same on a screen.

    Args:
        study: to show.
        console: where.
    """
    for sheet in make_sheets(study):
        table = Table(title=escape(sheet.title), title_justify="left", title_style="bold")
        for heading in sheet.headings:
            table.add_column(heading, overflow="fold")
        for row in sheet.rows:
            # Mean and deviation above, interval below: narrow enough for a screen.
            table.add_row(*(escape(cell).replace(" (", "\n(", 1) for cell in row))
        console.print(table)
    for line in explain(study):
        console.print(escape(line), highlight=False)
    for title, sentences in (("Left out", study.problems), ("Notes", study.notes)):
        if sentences:
            console.print(f"[bold]{title}[/bold]")
        for sentence in sentences:
            console.print(escape(f"- {sentence}"), highlight=False, soft_wrap=True)


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
