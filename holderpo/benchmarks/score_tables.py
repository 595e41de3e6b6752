"""An evaluation as a table for a terminal and for Markdown, and as numbers for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holderpo.benchmarks.scores import FAILURES, NUM_RESAMPLES, PanelResult, Score, SetResult
from holderpo.intervals import Interval

# How the interval of an average is made.
PANEL_INTERVAL = "of the sets'"

HEADINGS = (
    *("set", "problems", "sampling", "seeds", "metric", "score, %", "95 % interval"),
    *(f"{name.replace('_', ' ')}, %" for name in FAILURES),
    "tokens",
)


def make_rows(results: Sequence[SetResult], panels: Sequence[PanelResult]) -> list[list[str]]:
    """The cells of the table: a line for each number of each set, then the averages.

    Args:
        results: of the sets.
        panels: their averages; one without a value has its reasons in place of it.

    Returns:
        Rows as long as :data:`HEADINGS`.
    """
    rows = []
    for result in results:
        for position, score in enumerate(result.scores):
            rows.append(_score_cells(result, score))
            if position:
                # The same answers: what was said in the line above is not said again.
                rows[-1] = [*[""] * 4, *rows[-1][4:7], *[""] * (len(HEADINGS) - 7)]
    for panel in panels:
        cells = [panel.title, "", "", "", "", "none", ""]
        if panel.value is not None and panel.interval is not None:
            cells[5:] = [_percent(panel.value), _interval(panel.interval, PANEL_INTERVAL)]
        rows.append(cells + [""] * (len(HEADINGS) - len(cells)))
    return rows


def _score_cells(result: SetResult, score: Score) -> list[str]:
    return [
        result.title,
        str(result.num_problems),
        str(result.sampling),
        "none" if result.sampling.greedy else ", ".join(map(str, result.seeds)),
        score.metric,
        _percent(score.value),
        _interval(score.interval, score.interval_kind),
        *(_percent(result.failures[name]) for name in FAILURES),
        f"{result.mean_tokens:.0f}",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(interval: Interval, kind: str) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)} ({kind})"


def explain(results: Sequence[SetResult], panels: Sequence[PanelResult]) -> list[str]:
    """What the numbers are, in sentences.

    Args:
        results: of the sets.
        panels: their averages.

    Returns:
        Sentences; those about what is not in the table are left out.
    """
    lines = []
    if any(result.sampling.greedy for result in results):
        lines.append(
            "pass@1 of greedy answers: the share of problems answered right, with the Wilson "
            "interval over problems. Seeds have no effect on them."
        )
    if any(not result.sampling.greedy for result in results):
        lines.append(
            "avg@n: mean score of n answers to each problem; pass@k: the unbiased estimate from "
            "the same answers, those of all seeds together. Intervals: percentiles of "
            f"{NUM_RESAMPLES} bootstrap resamples of the problems, or Wilson's where all problems "
            "have the same."
        )
        lines += _by_seed(results)
    lines.append(
        "No answer, unparseable, timeout, error: share of answers by the grader's verdict; "
        "truncated: cut off at the limit of tokens. Tokens: mean length of an answer."
    )
    for result in results:
        if result.left_out:
            lines.append(
                f"{result.title}: the published gold of these problems is known to answer another "
                "question. Averages are over all problems, as published."
            )
    for panel in panels:
        if panel.value is None:
            lines.append(f"No {panel.title}: {'; '.join(panel.reasons)}.")
        else:
            lines.append(
                f"{panel.title[0].upper()}{panel.title[1:]} ({panel.panel.about}): plain mean over "
                "the sets; the interval is made of theirs (square-and-add), as of independent sets."
            )
    return lines


def _by_seed(results: Sequence[SetResult]) -> list[str]:
    return [
        f"{result.title}, {score.metric} by seed: "
        + ", ".join(f"{_percent(value)} ({seed})" for seed, value in score.by_seed.items())
        + "."
        for result in results
        for score in result.scores
        if len(score.by_seed) > 1
    ]


def to_markdown(
    model: str, results: Sequence[SetResult], panels: Sequence[PanelResult], notes: Sequence[str]
) -> str:
    """The whole report.

    Args:
        model: what was evaluated.
        results: of the sets.
        panels: their averages.
        notes: what else should be known.

    Returns:
        Markdown.
    """
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *make_rows(results, panels)]
    table = "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
    )
    parts = [f"# Evaluation of {model}", table, *explain(results, panels)]
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def print_report(
    console: Console,
    results: Sequence[SetResult],
    panels: Sequence[PanelResult],
    notes: Sequence[str],
) -> None:
    """The same on a screen, with fewer and narrower columns.

    Args:
        console: where.
        results: of the sets.
        panels: their averages.
        notes: what else should be known.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("set", "problems", "sampling", "metric", "score, %", "failures, %", "tokens"):
        table.add_column(heading, overflow="fold")
    for row in make_rows(results, panels):
        name, problems, sampling, seeds, metric, score, interval, *shares, tokens = row
        failures = [
            f"{failure.replace('_', ' ')} {share}"
            for failure, share in zip(FAILURES, shares, strict=True)
            if share not in ("", "0.0")
        ]
        drawn = [sampling, f"seeds {seeds}" if seeds not in ("", "none") else ""]
        cells = [
            name,
            problems,
            "\n".join(filter(None, drawn)),
            metric,
            "\n".join(filter(None, [score, interval])),
            "\n".join(failures) or ("none" if tokens else ""),
            tokens,
        ]
        table.add_row(*map(escape, cells))
    console.print(table)
    for line in [*explain(results, panels), *notes]:
        console.print(escape(line), highlight=False)


def to_json(results: Sequence[SetResult], panels: Sequence[PanelResult]) -> dict[str, Any]:
    """The numbers for a program; shares are fractions.

    Args:
        results: of the sets.
        panels: their averages.

    Returns:
        JSON-serialisable.
    """
    return {
        "sets": [
            {
                "set": result.name,
                "title": result.title,
                "left_out": result.left_out or None,
                "problems": result.num_problems,
                "answers": result.num_answers,
                "seeds": [] if result.sampling.greedy else list(result.seeds),
                "sampling": {
                    "temperature": result.sampling.temperature,
                    "top_p": result.sampling.top_p,
                    "samples": result.sampling.samples,
                    "max_tokens": result.sampling.max_tokens,
                },
                "scores": [_score_entry(result, score) for score in result.scores],
                "failures": dict(result.failures),
                "mean_tokens": result.mean_tokens,
            }
            for result in results
        ],
        "averages": [
            {
                "name": panel.title,
                "panel": panel.panel.name,
                "value": panel.value,
                "interval": None if panel.interval is None else list(panel.interval),
                "interval_kind": None if panel.interval is None else PANEL_INTERVAL,
                "why_none": list(panel.reasons),
            }
            for panel in panels
        ],
    }


def _score_entry(result: SetResult, score: Score) -> dict[str, Any]:
    by_seed = {} if result.sampling.greedy else dict(score.by_seed)
    return {
        "metric": score.metric,
        "value": score.value,
        "interval": list(score.interval),
        "interval_kind": score.interval_kind,
        "by_seed": {str(seed): value for seed, value in by_seed.items()},
    }
