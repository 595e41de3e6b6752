"""Accuracy on held-out problems, and the share of truncated answers, as verl logs them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from holderpo.studies.run_files import Row, name_steps


class HeldOut(NamedTuple):
    """Accuracy on held-out problems, a fraction, averaged over the sets."""

    before: float | None
    """Before the first step."""
    after: float | None
    """The last one."""
    after_step: int | None
    """The step of the last one."""
    truncated_after: float | None
    """Share of the answers behind the last one that were cut off; None if that is not known."""


def accuracies(row: Row) -> dict[str, float]:
    """Accuracy by data source, from verl's ``val-core/<source>/acc/mean@<n>``.

    Args:
        row: metrics of a step.

    Returns:
        Fractions; empty if nothing was held out in this step.
    """
    found = {}
    for name, value in row.items():
        parts = name.split("/")
        if parts[0] == "val-core" and parts[-2] == "acc" and parts[-1].startswith("mean@"):
            found["/".join(parts[1:-2])] = value
    return found


def truncated_shares(row: Row) -> dict[str, float]:
    """Share of truncated answers by data source, from ``val-aux/<source>/truncated/mean@<n>``.

    Args:
        row: metrics of a step.

    Returns:
        Fractions; without the sources whose reward manager does not say it. Where problems have
        unequally many answers, that of the problems with the most.
    """
    found: dict[str, tuple[int, float]] = {}
    for name, value in row.items():
        parts = name.split("/")
        if parts[0] == "val-aux" and parts[-2] == "truncated" and parts[-1].startswith("mean@"):
            source, num_answers = "/".join(parts[1:-2]), int(parts[-1].removeprefix("mean@"))
            found[source] = max(found.get(source, (0, 0.0)), (num_answers, value))
    return {source: value for source, (_, value) in found.items()}


def successes(row: Row) -> dict[str, float]:
    """Success by set of games, from ``val/<set>/success``.

    Args:
        row: metrics of a step.

    Returns:
        Fractions; empty where no games were played.
    """
    names = {name: name.split("/") for name in row}
    return {
        parts[1]: row[name]
        for name, parts in names.items()
        if len(parts) == 3 and (parts[0], parts[2]) == ("val", "success")
    }


def by_type(row: Row) -> dict[str, float]:
    """Success by task type of the games of a step.

    Args:
        row: metrics of a step.

    Returns:
        Fractions by type, or by set and type where there are several sets.
    """
    sets = successes(row)
    of_games = {
        name: value for name, value in accuracies(row).items() if name.partition("/")[0] in sets
    }
    if len(sets) == 1:
        return {name.partition("/")[2]: value for name, value in of_games.items()}
    return of_games


def accuracy(row: Row) -> float | None:
    """Mean of :func:`successes` of games, otherwise of :func:`accuracies`.

    None without any, or where one is not finite: a mean over the others would be one of other sets
    than those of the steps around it. Task types of games are no sets: each game counts the same.
    """
    return _mean(successes(row) or accuracies(row))


def truncated_share(row: Row) -> float | None:
    """Mean of :func:`truncated_shares`; None unless it is known of every source."""
    shares = truncated_shares(row)
    return _mean(shares) if shares.keys() == accuracies(row).keys() else None


def _mean(by_source: Mapping[str, float]) -> float | None:
    values = list(by_source.values())
    return statistics.fmean(values) if values and all(map(math.isfinite, values)) else None


def first_and_last(rows: Iterable[Row]) -> HeldOut:
    """The accuracies of a run.

    Args:
        rows: of its steps, in order.

    Returns:
        Those of steps in which it is finite.
    """
    validated = [row for row in rows if accuracy(row) is not None]
    before = next((row for row in validated if row["step"] == 0), None)
    after = next((row for row in reversed(validated) if row["step"] > 0), None)
    return HeldOut(
        None if before is None else accuracy(before),
        None if after is None else accuracy(after),
        None if after is None else int(after["step"]),
        None if after is None else truncated_share(after),
    )


def describe_not_finite(rows: Iterable[Row]) -> str | None:
    """A sentence on the steps that have an accuracy and no mean of it; None without any."""
    steps = [int(row["step"]) for row in rows if accuracies(row) and accuracy(row) is None]
    return f"held-out accuracy is not finite in step {name_steps(steps)}" if steps else None
