"""What a protocol plans beside what there is: parts, regimes, arms, and pairs of seeds.

A pair is a seed and the seed of the model: arms are compared where both are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holderpo.control.schedule import Constant
from holderpo.lab.cell_results import CellResult
from holderpo.lab.protocol import Protocol
from holderpo.lab.settings import ArmSettings, Cell
from holderpo.objective import SEQUENCE, TOKEN
from holderpo.studies.arms import (
    HELD_OUT,
    Arm,
    Bootstrap,
    CollapseRule,
    RunNumbers,
    group_arms,
)
from holderpo.studies.windows import ALL, FIRST_8, LAST_8, Window, best_before_last, window_mean

HELD_OUT_BEFORE = "held out before"
REWARD = "reward"
# By the names that results have for them.
_HEADINGS = {"all": ALL.heading, "first8": FIRST_8.heading, "last8": LAST_8.heading}


class Pair(NamedTuple):
    """What two runs have in common that are compared."""

    seed: int
    """Of problems, sampling and updates."""
    model_seed: int
    """Of the model that they started from."""

    def __str__(self) -> str:
        """Both, as in ``3.1``."""
        return f"{self.seed}.{self.model_seed}"


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
        """One order for the whole run, one clip per response."""
        return self._is_constant and self.settings.clip_level == SEQUENCE

    @property
    def is_token_clipped_grpo(self) -> bool:
        """The mean of the tokens' ratios, each clipped by itself."""
        order = self.settings.p.get("value")
        return self._is_constant and self.settings.clip_level == TOKEN and order == 1

    @property
    def _is_constant(self) -> bool:
        kind = str(self.settings.p.get("_target_")).rpartition(".")[2]
        is_own = self.settings.loss is None and not self.settings.shuffled_reward
        return is_own and kind == Constant.__name__

    @property
    def missing(self) -> int:
        """Runs that are planned and not there."""
        return self.num_planned - len(self.results)


@dataclass(frozen=True)
class RegimeRuns:
    """A part of the protocol in one regime."""

    part: str
    """Its name."""
    regime: str
    """Its name."""
    pairs: tuple[Pair, ...]
    """By number."""
    arms: tuple[LabArm, ...]
    """All that are planned, by clip range, then in the order of the protocol."""

    @property
    def clips(self) -> list[str]:
        """Clip ranges; a single empty one where each arm has its own."""
        return list(dict.fromkeys(arm.clip for arm in self.arms))

    def at(self, clip: str) -> list[LabArm]:
        """The arms of a clip range."""
        return [arm for arm in self.arms if arm.clip == clip]

    @property
    def num_runs(self) -> int:
        """That are there."""
        return sum(len(arm.results) for arm in self.arms)


@dataclass(frozen=True)
class PlannedRuns:
    """A protocol with its results."""

    parts: Mapping[str, tuple[RegimeRuns, ...]]
    """By name, in the order of the protocol."""
    repeats: tuple[tuple[CellResult, ...], ...]
    """Runs of one cell; the first one counts."""
    others: tuple[CellResult, ...]
    """Runs that are not in the protocol, and do not count."""


def match(
    protocol: Protocol,
    results: Sequence[CellResult],
    *,
    bootstrap: Bootstrap,
    rule: CollapseRule,
) -> PlannedRuns:
    """Find each planned run among the results, whatever part it was made for.

    Args:
        protocol: what is planned.
        results: what there is; a line that is there twice counts once.
        bootstrap: for the intervals.
        rule: of collapse.

    Returns:
        Both together.

    Raises:
        ValueError: naming a result without a reward.
    """
    by_digest: dict[str, list[CellResult]] = {}
    for result in results:
        _check(result)
        runs = by_digest.setdefault(result.digest, [])
        if result not in runs:
            runs.append(result)
    planned = {cell.digest for cells in protocol.parts.values() for cell in cells}
    first = {digest: runs[0] for digest, runs in by_digest.items()}
    parts = {
        part: tuple(_regimes(part, cells, first, bootstrap, rule))
        for part, cells in protocol.parts.items()
    }
    return PlannedRuns(
        parts,
        repeats=tuple(tuple(runs) for runs in by_digest.values() if len(runs) > 1),
        others=tuple(run for digest, run in first.items() if digest not in planned),
    )


def _check(result: CellResult) -> None:
    """What every comparison reads must be there."""
    where = f"{result.arm}, {result.regime}, seed {result.seed}.{result.model_seed}"
    if not result.curves.get(REWARD):
        raise ValueError(f"{where}: curves.{REWARD}: missing; make this run again")
    for window in _HEADINGS:
        if REWARD not in result.windows.get(window, {}):
            raise ValueError(f"{where}: windows.{window}.{REWARD}: missing; make this run again")


def _regimes(
    part: str,
    cells: Sequence[Cell],
    results: Mapping[str, CellResult],
    bootstrap: Bootstrap,
    rule: CollapseRule,
) -> Iterator[RegimeRuns]:
    for regime in dict.fromkeys(cell.regime.name for cell in cells):
        own = [cell for cell in cells if cell.regime.name == regime]
        pairs = sorted({Pair(cell.seed, cell.model_seed) for cell in own})
        arms = []
        for name in dict.fromkeys(cell.arm.name for cell in own):
            of_arm = [cell for cell in own if cell.arm.name == name]
            found = {
                pairs.index(Pair(cell.seed, cell.model_seed)): results[cell.digest]
                for cell in of_arm
                if cell.digest in results
            }
            runs = [numbers_of_cell(name, pair, result, rule) for pair, result in found.items()]
            numbers = group_arms(runs, bootstrap)[0] if runs else Arm(name, (), {})
            arms.append(LabArm(of_arm[0].arm, len(of_arm), found, numbers))
        clips = list(dict.fromkeys(arm.clip for arm in arms))
        arms.sort(key=lambda arm: clips.index(arm.clip))
        yield RegimeRuns(part, regime, tuple(pairs), tuple(arms))


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
