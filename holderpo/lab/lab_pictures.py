"""Pictures of the laboratory's runs: learning curves, entropy and gradient norm, arms by clip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holderpo.lab.lab_arms import LabArm, with_curve
from holderpo.lab.paired_differences import BEST_STATIC, MAIN, references
from holderpo.lab.planned_runs import RegimeRuns
from holderpo.studies.arms import Bootstrap
from holderpo.studies.curves import (
    BAND_WORDS,
    COLOURS,
    Band,
    Curve,
    draw_band,
    draw_curves,
    make_curve,
)
from holderpo.studies.diagrams import save

# Beside the best static order; the black one is the second reference.
MAIN_ARMS = ("linear", "sign_matched", "grpo")
REWARD_LABEL = "sampled reward"
# The paper's Figures 2 and 3: by name in the results, with whether the axis is logarithmic.
_BY_ORDER = {"entropy": ("policy entropy (nats)", False), "grad_norm": ("gradient norm", True)}
_BAND: Band = "interval"


class Picture(NamedTuple):
    """A file, and what it shows."""

    name: str
    caption: str


def draw_regime(runs: RegimeRuns, folder: Path, bootstrap: Bootstrap) -> list[Picture]:
    """All pictures of a part in one regime.

    Args:
        runs: of a regime.
        folder: for the files; must exist.
        bootstrap: for the bands.

    Returns:
        What was drawn; nothing without a run.
    """
    if not runs.num_runs:
        return []
    drawn = [_learning_curves(runs, clip, folder, bootstrap) for clip in runs.clips]
    drawn.append(_by_order(runs, folder, bootstrap))
    drawn.append(_arms_by_clip(runs, folder))
    return [picture for picture in drawn if picture is not None]


def main_arms(runs: RegimeRuns, clip: str) -> list[LabArm]:
    """The arms whose learning curves are drawn: the main ones where all are planned, else all.

    Args:
        runs: of a regime.
        clip: range.
    """
    arms = runs.at(clip)
    if not set(MAIN_ARMS) <= {arm.base for arm in arms}:
        return [arm for arm in arms if arm.results]
    best = {one.arm.name for one in references(runs, clip) if one.kind == BEST_STATIC}
    return [arm for arm in arms if arm.results and (arm.base in MAIN_ARMS or arm.name in best)]


def _learning_curves(
    runs: RegimeRuns, clip: str, folder: Path, bootstrap: Bootstrap
) -> Picture | None:
    arms = main_arms(runs, clip)
    curves = list(_curves(arms, "reward", bootstrap))
    if not curves:
        return None
    grpo = next((arm.name for arm in arms if arm.is_token_clipped_grpo), None)
    title = f"{runs.part}, {runs.regime}" + (f", clip range {clip}" if clip else "")
    name = _file_name(runs, "learning", clip)
    draw_curves(
        curves,
        [folder / name],
        metric=REWARD_LABEL,
        band=_BAND,
        baseline=grpo,
        title=title,
    )
    return Picture(name, f"Learning curves: {title}")


def _by_order(runs: RegimeRuns, folder: Path, bootstrap: Bootstrap) -> Picture | None:
    """Entropy above, gradient norm below, a column for each clip range, static orders in it."""
    statics = {
        clip: [arm for arm in runs.at(clip) if arm.is_static and arm.results] for clip in runs.clips
    }
    shown = [clip for clip, arms in statics.items() if len(arms) > 1]
    if not shown:
        return None
    figure = Figure(figsize=(4.4 * len(shown) + 0.6, 6.4), layout="constrained")
    axes = figure.subplots(len(_BY_ORDER), len(shown), sharex=True, sharey="row", squeeze=False)
    for row, (metric, (label, is_log)) in zip(axes, _BY_ORDER.items(), strict=True):
        for axis, clip in zip(row, shown, strict=True):
            _draw_orders(axis, list(_curves(statics[clip], metric, bootstrap)))
            axis.grid(alpha=0.3)
            if is_log:
                axis.set_yscale("log")
        row[0].set_ylabel(label)
    for axis, clip in zip(axes[0], shown, strict=True):
        axis.set_title(f"clip range {clip}" if clip else "each at its own clip range", fontsize=10)
        axis.legend(fontsize=8)
    figure.supxlabel("step", fontsize=10)
    title = f"{runs.part}, {runs.regime}: static orders"
    figure.suptitle(f"{title}\nmean over seeds; {BAND_WORDS[_BAND]}", fontsize=11)
    name = _file_name(runs, "entropy_and_gradient")
    save(figure, folder / name)
    return Picture(name, f"Policy entropy and gradient norm: {title}")


def _draw_orders(axis: Axes, curves: Sequence[Curve]) -> None:
    for number, curve in enumerate(curves):
        draw_band(axis, curve, COLOURS[number % len(COLOURS)], curve.label)


def _arms_by_clip(runs: RegimeRuns, folder: Path) -> Picture:
    """A row for each arm, a colour for each clip range."""
    bases = list(dict.fromkeys(arm.base for arm in runs.arms))
    figure = Figure(figsize=(7.2, 1.4 + 0.42 * len(bases)), layout="constrained")
    axis = figure.subplots()
    for number, clip in enumerate(runs.clips):
        arms = [arm for arm in runs.at(clip) if arm.results]
        spreads = [arm.numbers.spreads[MAIN] for arm in arms]
        # Side by side within a row.
        shift = 0.5 * ((number + 0.5) / len(runs.clips) - 0.5)
        low_high = [spread.interval or (spread.mean, spread.mean) for spread in spreads]
        axis.errorbar(
            [spread.mean for spread in spreads],
            [bases.index(arm.base) + shift for arm in arms],
            xerr=[
                [spread.mean - low for spread, (low, _) in zip(spreads, low_high, strict=True)],
                [high - spread.mean for spread, (_, high) in zip(spreads, low_high, strict=True)],
            ],
            color=COLOURS[number % len(COLOURS)],
            label=f"clip range {clip}" if clip else None,
            marker="o",
            linestyle="none",
            capsize=3,
        )
    axis.set_yticks(range(len(bases)), bases)
    axis.set_ylim(len(bases) - 0.5, -0.5)
    axis.grid(alpha=0.3)
    axis.set_xlabel(f"{MAIN} of the {REWARD_LABEL}: mean over runs and 95 % interval")
    axis.set_title(f"{runs.part}, {runs.regime}", fontsize=11)
    if runs.clips != [""]:
        # Among the points there is no place that is always free.
        figure.legend(fontsize=8, loc="outside lower center", ncols=len(runs.clips))
    name = _file_name(runs, "arms")
    save(figure, folder / name)
    return Picture(name, f"{MAIN} of each arm: {runs.part}, {runs.regime}")


def _curves(arms: Sequence[LabArm], metric: str, bootstrap: Bootstrap) -> Iterator[Curve]:
    for arm in arms:
        curve = make_curve(with_curve(arm, metric), _BAND, bootstrap)
        if curve is not None:
            yield curve


def _file_name(runs: RegimeRuns, kind: str, clip: str = "") -> str:
    """Of letters, digits, dots and lines only."""
    words = [runs.part, runs.regime, kind, *([f"clip{clip}"] if clip else [])]
    return re.sub(r"[^\w.-]", "_", "_".join(words)) + ".svg"
