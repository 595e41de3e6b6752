"""An evaluation as a table for a terminal and for Markdown, and as numbers for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from holderpo.benchmarks.scores import FAILURES, PanelResult, Score, SetResult
from holderpo.bootstrap import BOOTSTRAP, NUM_RESAMPLES, WILSON
from holderpo.intervals import Interval
from holderpo.sheets import Sheet, fit, markdown, show

# How the interval of an average is made.
PANEL_INTERVAL = "of the sets'"
# How each kind of interval is marked in a table.
MARKS: Mapping[str, str] = {WILSON: "W", BOOTSTRAP: "B", PANEL_INTERVAL: "S"}
_NONE = "-"


def make_sheets(results: Sequence[SetResult], panels: Sequence[PanelResult]) -> list[Sheet]:
    """The tables: scores, how the answers were drawn, shares of them without a verdict.

    Args:
        results: of the sets.
        panels: their averages; one without a value says ``none`` in place of it.

    Returns:
        Them, as wide as a terminal.
    """
    scores = [_score_cells(result, score) for result in results for score in result.scores]
    scores += [_panel_cells(panel) for panel in panels]
    headings = ["set", "metric", "score", "95 % interval", "truncated", "finished"]
    shares = [
        [result.title, *(_percent(result.failures[name]) for name in FAILURES)]
        for result in results
    ]
    sheets = [
        Sheet("Scores, %", headings, scores, broken=("set",)),
        Sheet(
            "Answers",
            ["set", "problems", "sampling", "seeds", "tokens"],
            [_answer_cells(result) for result in results],
            broken=("set", "sampling", "seeds"),
        ),
        Sheet(
            "Shares of the answers, %",
            ["set", *(name.replace("_", " ") for name in FAILURES)],
            shares,
            broken=("set",),
        ),
    ]
    return [part for sheet in sheets for part in fit(sheet)]


def _score_cells(result: SetResult, score: Score) -> list[str]:
    return [
        result.title,
        score.metric,
        _percent(score.value),
        _interval(score.interval, score.interval_kind),
        _percent(result.failures["truncated"]),
        _percent(score.finished),
    ]


def _panel_cells(panel: PanelResult) -> list[str]:
    if panel.value is None or panel.interval is None:
        return [panel.title, "", "none", "", "", ""]
    interval = _interval(panel.interval, PANEL_INTERVAL)
    shares = [_percent(panel.truncated), _percent(panel.finished)]
    return [panel.title, "", _percent(panel.value), interval, *shares]


def _answer_cells(result: SetResult) -> list[str]:
    return [
        result.title,
        str(result.num_problems),
        str(result.sampling),
        "none" if result.sampling.greedy else ", ".join(map(str, result.seeds)),
        f"{result.mean_tokens:.0f}",
    ]


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.1f}"


def _interval(interval: Interval, kind: str) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)} {MARKS[kind]}"


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
    lines += [
        "Intervals: W is Wilson's, B of the bootstrap, S made of the sets' (square-and-add).",
        "No answer, unparseable, timeout, error: share of answers by the grader's verdict; "
        "truncated: cut off at the limit of tokens. Finished: share of right ones among the "
        "answers that were not cut off; pass@k with k above 1 has none. Tokens: mean length of an "
        "answer.",
    ]
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
    parts = [f"# Evaluation of {model}"]
    for sheet in make_sheets(results, panels):
        parts += [f"## {sheet.title}", markdown(sheet)]
    parts += explain(results, panels)
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def print_report(
    console: Console,
    results: Sequence[SetResult],
    panels: Sequence[PanelResult],
    notes: Sequence[str],
) -> None:
    """The same on a screen.

    Args:
        console: where.
        results: of the sets.
        panels: their averages.
        notes: what else should be known.
    """
    for sheet in make_sheets(results, panels):
        show(sheet, console)
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
                "truncated": panel.truncated,
                "finished": panel.finished,
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
        "truncated": result.failures["truncated"],
        "finished": score.finished,
        "by_seed": {str(seed): value for seed, value in by_seed.items()},
    }
