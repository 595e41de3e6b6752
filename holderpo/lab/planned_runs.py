"""What a protocol plans beside what there is: parts, regimes, arms, and pairs of seeds.

A pair is a seed and the seed of the model: arms are compared where both are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holderpo.lab.cell_results import CellResult
from holderpo.lab.lab_arms import LabArm, check_result, make_arm
from holderpo.lab.protocol import Protocol
from holderpo.lab.settings import Cell
from holderpo.studies.arms import Bootstrap, CollapseRule


class Pair(NamedTuple):
    """What two runs have in common that are compared."""

    seed: int
    """Of problems, sampling and updates."""
    model_seed: int
    """Of the model that they started from."""

    def __str__(self) -> str:
        """Both, as in ``3.1``."""
        return f"{self.seed}.{self.model_seed}"


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
    lent: tuple[LabArm, ...]
    """Those of other parts with the same task and regime, their runs that are in these pairs."""

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
        check_result(result)
        runs = by_digest.setdefault(result.digest, [])
        if result not in runs:
            runs.append(result)
    all_cells = [cell for cells in protocol.parts.values() for cell in cells]
    planned = {cell.digest for cell in all_cells}
    first = {digest: runs[0] for digest, runs in by_digest.items()}
    make = _Maker(first, bootstrap, rule)
    parts = {
        part: tuple(_regimes(part, cells, all_cells, make))
        for part, cells in protocol.parts.items()
    }
    return PlannedRuns(
        parts,
        repeats=tuple(tuple(runs) for runs in by_digest.values() if len(runs) > 1),
        others=tuple(run for digest, run in first.items() if digest not in planned),
    )


class _Maker(NamedTuple):
    """What arms are made of."""

    results: Mapping[str, CellResult]
    bootstrap: Bootstrap
    rule: CollapseRule

    def arms(self, cells: Sequence[Cell], pairs: Sequence[Pair]) -> tuple[LabArm, ...]:
        """Arms of some cells of one regime, by clip range."""
        arms = []
        for name in dict.fromkeys(cell.arm.name for cell in cells):
            planned = {
                pairs.index(Pair(cell.seed, cell.model_seed)): cell
                for cell in cells
                if cell.arm.name == name
            }
            found = {
                pair: self.results[cell.digest]
                for pair, cell in sorted(planned.items())
                if cell.digest in self.results
            }
            settings = next(iter(planned.values())).arm
            arms.append(
                make_arm(settings, len(planned), found, bootstrap=self.bootstrap, rule=self.rule)
            )
        clips = list(dict.fromkeys(arm.clip for arm in arms))
        return tuple(sorted(arms, key=lambda arm: clips.index(arm.clip)))


def _regimes(
    part: str, cells: Sequence[Cell], all_cells: Sequence[Cell], make: _Maker
) -> Iterator[RegimeRuns]:
    for regime in dict.fromkeys(cell.regime for cell in cells):
        own = [cell for cell in cells if cell.regime == regime]
        pairs = tuple(sorted({Pair(cell.seed, cell.model_seed) for cell in own}))
        names = {cell.arm.name for cell in own}
        others = [
            cell
            for cell in all_cells
            if (cell.task, cell.regime) == (own[0].task, regime)
            and cell.arm.name not in names
            and Pair(cell.seed, cell.model_seed) in pairs
        ]
        yield RegimeRuns(
            part, regime.name, pairs, arms=make.arms(own, pairs), lent=make.arms(others, pairs)
        )
