"""A file of results that can be kept in git: one JSON line for each finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holderpo.lab.settings import Cell
from holderpo.lab.training import RunRecord
from holderpo.records_folder import whole_lines
from holderpo.studies.windows import ALL, FIRST_8, LAST_8, Window, window_mean

# Kept for each round; of the others only the windows below.
CURVES = ("reward", "entropy", "grad_norm", "p", "ess_frac")
WINDOWS: Mapping[str, Window] = {"all": ALL, "first8": FIRST_8, "last8": LAST_8}
_DIGITS = 4


@dataclass(frozen=True)
class CellResult:
    """A finished run in one line."""

    digest: str
    """Of the cell."""
    part: str
    """Of the protocol that it was run for."""
    task: Mapping[str, Any]
    """Settings of the task."""
    regime: str
    """Name of the regime."""
    arm: str
    """Name of the arm."""
    seed: int
    """Of problems, sampling and updates."""
    model_seed: int
    """Of the model that it started from."""
    curves: Mapping[str, list[float]]
    """A number for each round, of ``CURVES``."""
    windows: Mapping[str, Mapping[str, float]]
    """Mean over a window's rounds, of everything that was measured."""
    held_out_before: float
    """Share of right greedy answers before the first round."""
    held_out_after: float
    """And after the last."""
    seconds: float
    """Of the run."""
    settings: Mapping[str, Any]
    """Of regime and arm."""
    versions: Mapping[str, str]
    """Of torch and transformers, and the commit."""


def result_of_cell(
    cell: Cell, part: str, record: RunRecord, versions: Mapping[str, str]
) -> CellResult:
    """The line of a run.

    Args:
        cell: that was run.
        part: of the protocol.
        record: what it left.
        versions: of what it ran with.
    """
    return CellResult(
        digest=cell.digest,
        part=part,
        task=cell.task,
        regime=cell.regime.name,
        arm=cell.arm.name,
        seed=cell.seed,
        model_seed=cell.model_seed,
        curves={name: _short(record.curves[name]) for name in CURVES if name in record.curves},
        windows={
            name: {
                curve: _round(mean)
                for curve, values in record.curves.items()
                if (mean := window_mean(values, window)) is not None
            }
            for name, window in WINDOWS.items()
        },
        held_out_before=record.held_out_before,
        held_out_after=record.held_out_after,
        seconds=round(record.seconds, 2),
        settings={"regime": asdict(cell.regime), "arm": asdict(cell.arm)},
        versions=versions,
    )


def append_line(path: Path, result: CellResult) -> None:
    """Add a result to a file, made if it is not there.

    Args:
        path: JSON Lines of whole lines; one process writes.
        result: of a finished run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result), separators=(",", ":")) + "\n")


def read_cells(path: Path) -> list[CellResult]:
    """Results of a file; none if there is no such file.

    Args:
        path: JSON Lines; a last line that was cut off is left out.

    Raises:
        ValueError: naming a line that is no result.
    """
    found = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            found.append(CellResult(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}:{number}: no result of a run ({error})") from error
    return found


def _short(values: list[float]) -> list[float]:
    return [_round(value) for value in values]


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value
