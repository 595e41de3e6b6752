"""Benchmarks of mathematics: how each is sampled, and the panels of the paper's tables.

An average is always that of a panel: of fixed sets, each with a fixed way to sample and to score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

# Name of each set, as in data/<set> and in data_source, and its number of rows.
SETS: Mapping[str, int] = {
    "aime24": 30,
    "aime25": 30,
    "amc": 83,
    "amc23": 40,
    "gsm8k": 1319,
    "math500": 500,
    "minerva": 272,
    "olympiadbench": 675,
}

# The reference evaluator's default; its launcher passes 4096, the paper gives no number.
DEFAULT_MAX_TOKENS = 3000


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn, and which numbers are made of them."""

    temperature: float = 0.0
    """0 is greedy: the most likely token each time, one answer per problem, no seed."""
    top_p: float = 1.0
    """Share of the probability that tokens are drawn from, above 0 and up to 1."""
    samples: int = 1
    """Answers to each problem for each seed."""
    k: tuple[int, ...] = ()
    """Of pass@k; each from 1 to ``samples``."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Longest answer."""

    def __post_init__(self) -> None:
        """Check the fields together."""
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature: {self.temperature}; give 0 (greedy) or above")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p}; give above 0 and up to 1")
        if self.greedy and self.top_p < 1:
            raise ValueError(
                f"top_p: {self.top_p} has no effect at temperature 0; give a temperature above 0"
            )
        if self.samples < 1 or (self.greedy and self.samples > 1):
            raise ValueError(
                f"samples: {self.samples} at temperature {self.temperature:g}; give 1 or more, and "
                "1 for greedy answers, which are all the same"
            )
        if wrong := [k for k in self.k if not 1 <= k <= self.samples]:
            raise ValueError(f"k: {wrong[0]} of {self.samples} samples; give 1 to samples")
        if len(set(self.k)) < len(self.k):
            raise ValueError(f"k: {list(self.k)}; give each once")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: {self.max_tokens}; give 1 or more")

    @property
    def greedy(self) -> bool:
        """Whether there is nothing to draw."""
        return self.temperature == 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers: ``pass@1`` of greedy answers, else ``avg@n`` and each pass@k."""
        if self.greedy:
            return ("pass@1",)
        return (f"avg@{self.samples}", *(f"pass@{k}" for k in self.k))

    def __str__(self) -> str:
        """As in a table."""
        if self.greedy:
            return f"greedy, {self.max_tokens} tokens"
        return (
            f"T {self.temperature:g}, top-p {self.top_p:g}, n {self.samples}, "
            f"{self.max_tokens} tokens"
        )


GREEDY = Sampling()


@dataclass(frozen=True)
class Entry:
    """What a set contributes to a panel."""

    name: str
    """Of the set."""
    sampling: Sampling
    """How the panel samples it."""
    metric: str
    """Which of its numbers is averaged."""


@dataclass(frozen=True)
class Panel:
    """Sets that are averaged together, as one of the paper's tables does."""

    name: str
    """On the command line and beside every average."""
    about: str
    """One line for people."""
    entries: tuple[Entry, ...]
    """In the order of the table."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of its sets."""
        return tuple(entry.name for entry in self.entries)


def _greedy(*names: str) -> list[Entry]:
    return [Entry(name, GREEDY, "pass@1") for name in names]


PANELS: Mapping[str, Panel] = {
    panel.name: panel
    for panel in (
        Panel(
            "table2",
            "AIME24, AMC (83 rows), MATH500, Minerva, OlympiadBench; all greedy pass@1",
            tuple(_greedy("aime24", "amc", "math500", "minerva", "olympiadbench")),
        ),
        Panel(
            "table6_7",
            "MATH500, AIME25, AMC23 (40 rows), Minerva, OlympiadBench; greedy pass@1, AIME25 "
            "pass@8 of 8 answers at temperature 0.7",
            (
                *_greedy("math500"),
                Entry("aime25", Sampling(temperature=0.7, samples=8, k=(8,)), "pass@8"),
                *_greedy("amc23", "minerva", "olympiadbench"),
            ),
        ),
    )
}


def plan_sets(
    panels: Iterable[str],
    sets: Iterable[str],
    changes: Sequence[tuple[str, Mapping[str, Any]]],
    max_tokens: int | None,
) -> tuple[dict[str, Sampling], list[str]]:
    """Which sets are evaluated, and how.

    Args:
        panels: names of panels; their sets are sampled as they say.
        sets: further sets, greedy unless changed.
        changes: set (or ``all``) and the fields of :class:`Sampling` to change there, in order.
        max_tokens: for every set that ``changes`` give none; None leaves the default.

    Returns:
        The sampling of each set, in order, and a sentence for everything that is wrong.
    """
    panels, sets, problems = list(dict.fromkeys(panels)), list(sets), []
    known = [name for name in panels if name in PANELS]
    problems += [
        f"--panel: {name!r} is unknown; known are {', '.join(PANELS)}"
        for name in panels
        if name not in PANELS
    ]
    problems += [
        f"--sets: {name!r} is unknown; known are {', '.join(SETS)}"
        for name in sets
        if name not in SETS
    ]
    planned: dict[str, Sampling] = {}
    for name in known:
        for entry in PANELS[name].entries:
            present = planned.setdefault(entry.name, entry.sampling)
            assert present == entry.sampling, f"two panels sample {entry.name} differently"
    planned |= {name: GREEDY for name in sets if name in SETS and name not in planned}
    if not panels and not sets:
        problems.append(
            f"nothing to evaluate; give --panel ({', '.join(PANELS)}) or --sets ({', '.join(SETS)})"
        )
    for name in planned:
        wanted: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
        for whose, change in changes:
            wanted |= change if whose in (name, "all") else {}
        try:
            planned[name] = replace(planned[name], **wanted)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    problems += [
        f"--sampling: {whose!r} is not evaluated here; give one of {', '.join(planned)}, or all"
        for whose, _ in changes
        if whose != "all" and whose not in planned
    ]
    return planned, problems


def parse_change(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A set and its changes from ``SET key=value ...``.

    Args:
        words: as on the command line; several ``k`` are separated by commas.

    Returns:
        Name and values by field of :class:`Sampling`.

    Raises:
        ValueError: naming the word that cannot be read.
    """
    name, *settings = words
    readers: dict[str, Callable[[str], Any]] = {
        "temperature": float,
        "top_p": float,
        "samples": int,
        "k": lambda text: tuple(int(part) for part in text.split(",")),
        "max_tokens": int,
    }
    assert set(readers) == {field.name for field in fields(Sampling)}
    if not settings:
        raise ValueError(f"--sampling {name}: no setting; give one of {', '.join(readers)}")
    change = {}
    for text in settings:
        key, _, value = text.partition("=")
        try:
            change[key] = readers[key](value)
        except (KeyError, ValueError):
            raise ValueError(
                f"--sampling {name}: {text!r}; give key=number of {', '.join(readers)}"
            ) from None
    return name, change


def departures(panel: Panel, planned: Mapping[str, Sampling]) -> list[str]:
    """Why the sets as planned are not this panel.

    Args:
        panel: the panel.
        planned: sampling of each set. Another limit of tokens is no departure, as the paper has
            none, nor are more samples from which the same number is estimated.

    Returns:
        A few words for each missing set and each that is sampled otherwise.
    """
    reasons = []
    for entry in panel.entries:
        sampling, wanted = planned.get(entry.name), entry.sampling
        if sampling is None:
            reasons.append(f"{entry.name} is missing")
        elif (sampling.temperature, sampling.top_p) != (wanted.temperature, wanted.top_p) or (
            entry.metric not in sampling.metrics
        ):
            reasons.append(f"{entry.name} is sampled otherwise")
    return reasons
