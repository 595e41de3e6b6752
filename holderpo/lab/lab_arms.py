"""An arm of the laboratory in one regime: its settings, its runs, and what is compared of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from holderpo.control.schedule import Annealing, Constant
from holderpo.lab.cell_results import WINDOWS, CellResult
from holderpo.lab.settings import ArmSettings
from holderpo.objective import SEQUENCE, TOKEN
from holderpo.studies.arms import (
    HELD_OUT,
    Arm,
    Bootstrap,
    CollapseRule,
    RunNumbers,
    group_arms,
)
from holderpo.studies.windows import Window, best_before_last, window_mean

HELD_OUT_BEFORE = "held out before"
REWARD = "reward"
# By the names that results have for them.
_HEADINGS = {name: window.heading for name, window in WINDOWS.items()}


class LabArm(NamedTuple):
    """An arm of a part in one regime."""

    settings: ArmSettings
    num_planned: int
    results: Mapping[int, CellResult]
    """By the number of the pair."""
    numbers: Arm
    """Of the results, the number of the pair in place of the seed."""

    @property
    def name(self) -> str:
        """With the clip range where the part has several."""
        return self.settings.name

    @property
    def clip(self) -> str:
        """The clip range in the name; empty where each arm has its own."""
        return self.name.rpartition("@")[2] if "@" in self.name else ""

    @property
    def base(self) -> str:
        """The name without it."""
        return self.name.rpartition("@")[0] or self.name

    @property
    def is_static(self) -> bool:
        """One order for the whole run, one clip per response, at the clip range of its part."""
        return self._is_constant and self.settings.clip_level == SEQUENCE

    @property
    def is_token_clipped_grpo(self) -> bool:
        """The mean of the tokens' ratios, each clipped by itself, at the clip range of its part."""
        order = self.settings.p.get("value")
        return self._is_constant and self.settings.clip_level == TOKEN and order == 1

    @property
    def _is_constant(self) -> bool:
        is_own = self.settings.loss is None and not self.settings.shuffled_reward
        # At a range of its own it is another method, as GSPO is p = 0.
        return (
            is_own and _kind(self.settings) == Constant.__name__ and self.is_clipped_like(self.clip)
        )

    def is_clipped_like(self, clip: str) -> bool:
        """Whether its clip range is this one, or the usual one where none is given."""
        wanted = clip or f"{ArmSettings.clip_low:g}"
        return {f"{self.settings.clip_low:g}", f"{self.settings.clip_high:g}"} == {wanted}

    def is_descending_twin_of(self, other: LabArm) -> bool:
        """Whether the other is the same but for p, which rises as far as this one falls."""
        own, others = dict(self.settings.p), dict(other.settings.p)
        if _kind(self.settings) != Annealing.__name__ or own["start"] <= own["end"]:
            return False
        own["start"], own["end"] = own["end"], own["start"]
        return (
            own == others
            and replace(self.settings, name=other.name, p=other.settings.p) == other.settings
        )

    @property
    def missing(self) -> int:
        """Runs that are planned and not there."""
        return self.num_planned - len(self.results)


def check_result(result: CellResult) -> None:
    """What every comparison reads must be there.

    Args:
        result: of a run.

    Raises:
        ValueError: naming what is missing.
    """
    where = f"{result.arm}, {result.regime}, seed {result.seed}.{result.model_seed}"
    if not result.curves.get(REWARD):
        raise ValueError(f"{where}: curves.{REWARD}: missing; make this run again")
    for window in _HEADINGS:
        if REWARD not in result.windows.get(window, {}):
            raise ValueError(f"{where}: windows.{window}.{REWARD}: missing; make this run again")


def make_arm(
    settings: ArmSettings,
    num_planned: int,
    results: Mapping[int, CellResult],
    *,
    bootstrap: Bootstrap,
    rule: CollapseRule,
) -> LabArm:
    """An arm with what is compared of its runs.

    Args:
        settings: of the arm.
        num_planned: runs in the protocol.
        results: those that are there, by the number of the pair.
        bootstrap: for the intervals.
        rule: of collapse.
    """
    runs = [numbers_of_cell(settings.name, pair, result, rule) for pair, result in results.items()]
    return LabArm(settings, num_planned, results, _numbers(settings.name, runs, bootstrap))


def restrict(arm: LabArm, pairs: Collection[int], bootstrap: Bootstrap) -> LabArm:
    """The arm with some of its runs.

    Args:
        arm: of a regime.
        pairs: numbers of those that stay.
        bootstrap: for the intervals.
    """
    runs = [run for run in arm.numbers.runs if run.seed in pairs]
    results = {pair: result for pair, result in arm.results.items() if pair in pairs}
    return arm._replace(results=results, numbers=_numbers(arm.name, runs, bootstrap))


def _numbers(name: str, runs: Sequence[RunNumbers], bootstrap: Bootstrap) -> Arm:
    return group_arms(runs, bootstrap)[0] if runs else Arm(name, (), {})


def _kind(settings: ArmSettings) -> str:
    """Name of the class that gives the order."""
    return str(settings.p.get("_target_")).rpartition(".")[2]


def numbers_of_cell(name: str, pair: int, result: CellResult, rule: CollapseRule) -> RunNumbers:
    """What is compared of a run.

    Args:
        name: of the arm.
        pair: its number.
        result: the run.
        rule: of collapse.
    """
    rewards = result.curves[REWARD]
    values = {heading: result.windows[window][REWARD] for window, heading in _HEADINGS.items()}
    values |= {HELD_OUT_BEFORE: result.held_out_before, HELD_OUT: result.held_out_after}
    last = window_mean(rewards, Window("last", rule.size))
    return RunNumbers(
        source=result.digest,
        arm=name,
        seed=pair,
        steps=len(rewards),
        values={name: value for name, value in values.items() if math.isfinite(value)},
        collapsed=rule.decide(last, best_before_last(rewards, rule.size)),
        curve=_curve(rewards),
    )


def with_curve(arm: LabArm, metric: str) -> Arm:
    """The arm's runs with another curve than the reward's.

    Args:
        arm: of a regime.
        metric: of the curves in its results; a run without it has none.
    """
    runs = tuple(
        run._replace(curve=_curve(arm.results[run.seed].curves.get(metric, [])))
        for run in arm.numbers.runs
    )
    return Arm(arm.name, runs, {})


def _curve(values: Sequence[float]) -> dict[int, float]:
    """By the number of the round, from 1; what is not finite has no place in it."""
    return {step: value for step, value in enumerate(values, start=1) if math.isfinite(value)}
