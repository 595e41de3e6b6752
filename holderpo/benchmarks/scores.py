"""Numbers of an evaluation: pass@1, avg@n and pass@k of sets, averages of panels.

Shapes: ``G`` problems, ``R`` resamples of them with the problems as they are in front.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holderpo.benchmarks.panels import SETS, Entry, Panel, Sampling, departures
from holderpo.benchmarks.pass_at_k import pass_at_k
from holderpo.benchmarks.records import Record
from holderpo.benchmarks.whole_sets import title
from holderpo.bootstrap import interval_of_mean
from holderpo.intervals import Interval

# Shares of answers shown beside the scores; the first four are verdicts of the grader.
FAILURES = ("no_answer", "unparseable", "timeout", "error", "truncated")


@dataclass(frozen=True)
class Score:
    """One number of a set."""

    metric: str
    """``pass@1``, ``avg@n`` or ``pass@k``."""
    value: float
    """A fraction."""
    interval: Interval
    """95 %."""
    interval_kind: str
    """How the interval is made."""
    by_seed: Mapping[int, float]
    """The same number from each seed's answers alone."""
    finished: float | None
    """Share of right ones among the answers that were not cut off; None for pass@k with k above 1,
    and if all were cut off."""


@dataclass(frozen=True)
class SetResult:
    """A set's numbers."""

    name: str
    """Of the set."""
    left_out: str
    """Which of its problems do not count; empty if all do."""
    sampling: Sampling
    """How its answers were drawn."""
    num_problems: int
    """That count."""
    num_answers: int
    """To these problems, of all seeds."""
    seeds: tuple[int, ...]
    """Of the answers."""
    scores: tuple[Score, ...]
    """One for each metric of the sampling."""
    failures: Mapping[str, float]
    """Share of answers by :data:`FAILURES`."""
    mean_tokens: float
    """Length of an answer."""

    num_left_out: int = 0
    """Problems that do not count."""

    @property
    def title(self) -> str:
        """Name, of a part of a benchmark with the number of problems, and what is left out."""
        name = title(self.name, self.num_problems + self.num_left_out)
        return f"{name}, {self.left_out}" if self.left_out else name


@dataclass(frozen=True)
class PanelResult:
    """A panel's average, or why there is none."""

    panel: Panel
    """Of the sets averaged."""
    value: float | None
    """Plain mean over the sets; None if these are not the panel's."""
    interval: Interval | None
    """95 %, from the intervals of the sets."""
    truncated: float | None
    """Plain mean over the sets of the share of truncated answers."""
    finished: float | None
    """Plain mean over the sets of :attr:`Score.finished`; None where a set has none."""
    reasons: tuple[str, ...]
    """Why there is no average."""

    @property
    def title(self) -> str:
        """The average's name."""
        return f"average of panel {self.panel.name}"


def score_set(
    name: str,
    sampling: Sampling,
    records: Iterable[Record],
    *,
    resampling_seed: int = 0,
    suspects: Collection[int] = (),
) -> list[SetResult]:
    """All numbers of a set.

    Args:
        name: of the set.
        sampling: of its answers.
        records: all answers that count; each problem has equally many of each seed.
        resampling_seed: of the bootstrap's draws.
        suspects: problems whose published gold answers another question.

    Returns:
        The set as published and, if it has suspects, without them.

    Raises:
        ValueError: if an answer is missing.
    """
    records = list(records)
    results = [_score(name, sampling, records, resampling_seed)]
    present = {record.index for record in records} & set(suspects)
    trusted = [record for record in records if record.index not in present]
    if present and trusted:
        left_out = f"without {len(present)} suspect golds"
        without = _score(name, sampling, trusted, resampling_seed)
        results.append(replace(without, left_out=left_out, num_left_out=len(present)))
    return results


def _score(
    name: str, sampling: Sampling, records: Sequence[Record], resampling_seed: int
) -> SetResult:
    seeds = tuple(sorted({record.seed for record in records}))
    counts = _counts(name, records, seeds, sampling.samples)
    uncut = [record.score for record in records if not record.truncated]
    finished = sum(uncut) / len(uncut) if uncut else None
    scores = []
    for metric in sampling.metrics:
        pooled = _values(metric, [_pool(by_seed) for by_seed in counts.values()])
        by_seed = {
            seed: _values(metric, [each[seed] for each in counts.values()]).mean().item()
            for seed in seeds
        }
        interval, kind = interval_of_mean(
            pooled, several_tries=not sampling.greedy, seed=resampling_seed
        )
        of_finished = finished if _tries(metric) == 1 else None
        value = pooled.mean().item()
        scores.append(Score(metric, value, interval, kind, by_seed, of_finished))
    failures = dict.fromkeys(FAILURES, 0)
    for record in records:
        failures["truncated"] += record.truncated
        if record.status in failures:
            failures[record.status] += 1
    return SetResult(
        name=name,
        left_out="",
        sampling=sampling,
        num_problems=len(counts),
        num_answers=len(records),
        seeds=seeds,
        scores=tuple(scores),
        failures={name: count / len(records) for name, count in failures.items()},
        mean_tokens=sum(record.num_tokens for record in records) / len(records),
    )


_Counts = tuple[int, int]  # Answers, and right ones among them.


def _counts(
    name: str, records: Sequence[Record], seeds: Sequence[int], samples: int
) -> dict[int, dict[int, _Counts]]:
    """Answers of each problem by seed, problems in order."""
    scores: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        scores[record.index][record.seed].append(record.score)
    if not scores:
        raise ValueError(f"{name}: no answers")
    for index, by_seed in scores.items():
        for seed in seeds:
            if len(by_seed[seed]) != samples:
                raise ValueError(
                    f"{name}: problem {index} has {len(by_seed[seed])} answers of seed {seed}; "
                    f"{samples} are needed"
                )
    return {
        index: {seed: (samples, int(sum(scores[index][seed]))) for seed in seeds}
        for index in sorted(scores)
    }


def _pool(by_seed: Mapping[int, _Counts]) -> _Counts:
    return sum(n for n, _ in by_seed.values()), sum(c for _, c in by_seed.values())


def _values(metric: str, counts: Iterable[_Counts]) -> Tensor:
    """(G,) float64: the metric of each problem."""
    k = _tries(metric)
    return torch.tensor([pass_at_k(n, c, k) for n, c in counts], dtype=torch.float64)


def _tries(metric: str) -> int:
    """Answers of which one must be right; avg@n is the mean over single ones."""
    kind, _, number = metric.partition("@")
    return 1 if kind == "avg" else int(number)


def average_panel(panel: Panel, results: Sequence[SetResult]) -> PanelResult:
    """The average of a panel's sets, all problems as published.

    **Source** of the interval: the square-and-add method (Newcombe, 1998; MOVER of Zou and Donner,
    2008): the distances of value and bound of independent sets add up in squares. So a set without
    a right answer, whose resamples would all be the same, still makes the average uncertain.

    Args:
        panel: the panel.
        results: of all sets evaluated.

    Returns:
        The average, if the sets are whole and those of the panel.
    """
    whole = {result.name: result for result in results if not result.left_out}
    reasons = departures(panel, {name: result.sampling for name, result in whole.items()})
    reasons += [
        f"{name} has {whole[name].num_problems} of {SETS[name]} problems"
        for name in panel.sets
        if name in whole and whole[name].num_problems != SETS[name]
    ]
    if reasons:
        return PanelResult(panel, None, None, None, None, tuple(reasons))
    scores = [_score_of(entry, whole[entry.name]) for entry in panel.entries]
    value = math.fsum(score.value for score in scores) / len(scores)
    below = math.hypot(*(score.value - score.interval.low for score in scores)) / len(scores)
    above = math.hypot(*(score.interval.high - score.value for score in scores)) / len(scores)
    interval = Interval(max(value - below, 0.0), min(value + above, 1.0))
    truncated = [whole[entry.name].failures["truncated"] for entry in panel.entries]
    finished = [score.finished for score in scores if score.finished is not None]
    return PanelResult(
        panel,
        value,
        interval,
        truncated=math.fsum(truncated) / len(truncated),
        finished=math.fsum(finished) / len(scores) if len(finished) == len(scores) else None,
        reasons=(),
    )


def _score_of(entry: Entry, result: SetResult) -> Score:
    return next(score for score in result.scores if score.metric == entry.metric)
