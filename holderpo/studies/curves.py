"""Learning curves of arms: the mean over seeds with a band."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holderpo.bootstrap import resample_counts
from holderpo.studies.arms import Arm, Bootstrap
from holderpo.studies.diagrams import save

Band = Literal["range", "interval"]

BAND_WORDS: Mapping[Band, str] = {
    "range": "band: smallest to largest seed",
    "interval": "band: 95 % bootstrap interval over seeds, step by step",
}

# Okabe and Ito (2008), told apart by colour-blind readers; the baseline is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MOST_TOGETHER = 4


class Curve(NamedTuple):
    """One arm over the steps that all its seeds have."""

    name: str
    num_seeds: int
    steps: list[int]
    mean: list[float]
    low: list[float]
    """Of the band; equal to the mean for one seed."""
    high: list[float]
    num_left_out: int
    """Steps that some seeds have and others lack."""

    @property
    def label(self) -> str:
        """For the legend."""
        return f"{self.name} (n = {self.num_seeds}{', no band' if self.num_seeds == 1 else ''})"


def make_curve(arm: Arm, band: Band, bootstrap: Bootstrap) -> Curve | None:
    """The curve of an arm.

    Args:
        arm: runs without a curve, from a results file, are not in it.
        band: what is shaded.
        bootstrap: resamples.

    Returns:
        The curve; None if no run has one, or they have no step in common.
    """
    curves = [run.curve for run in arm.runs if run.curve]
    if not curves:
        return None
    everywhere = set.intersection(*(set(curve) for curve in curves))
    steps = sorted(everywhere)
    if not steps:
        return None
    values = [[curve[step] for curve in curves] for step in steps]
    low, high = [min(row) for row in values], [max(row) for row in values]
    if band == "interval" and len(curves) > 1:
        counts = resample_counts(len(curves), bootstrap.num_resamples, bootstrap.seed)
        means = counts[1:] @ torch.tensor(values, dtype=torch.float64).T / len(curves)
        low, high = (means.quantile(level, dim=0).tolist() for level in (0.025, 0.975))
    return Curve(
        name=arm.name,
        num_seeds=len(curves),
        steps=steps,
        mean=[statistics.fmean(row) for row in values],
        low=low,
        high=high,
        num_left_out=len(set.union(*(set(curve) for curve in curves)) - everywhere),
    )


def draw_curves(
    curves: Sequence[Curve],
    paths: Sequence[Path],
    *,
    metric: str,
    band: Band,
    baseline: str | None = None,
    title: str | None = None,
) -> None:
    """Draw up to four arms in one diagram, more of them in one each.

    Args:
        curves: one per arm.
        paths: picture files; their endings choose the formats.
        metric: label of the vertical axis.
        band: what is shaded, said in the title.
        baseline: name of the arm that is drawn in black, and into every diagram.
        title: a line above the picture.
    """
    together = len(curves) <= _MOST_TOGETHER
    figure = _draw_together(curves, baseline) if together else _draw_apart(curves, baseline)
    of = f"{metric}: " if title is None else f"{title}\n"
    figure.suptitle(f"{of}mean over seeds; {BAND_WORDS[band]}", fontsize=11)
    figure.supxlabel("step", fontsize=10)
    figure.supylabel(metric, fontsize=10)
    for path in paths:
        save(figure, path, dpi=130)


def _draw_together(curves: Sequence[Curve], baseline: str | None) -> Figure:
    figure = Figure(figsize=(8.2, 4.8), layout="constrained")
    axis = figure.subplots()
    colours = iter(COLOURS)
    for curve in curves:
        colour = "black" if curve.name == baseline else next(colours)
        is_baseline = ", baseline" if curve.name == baseline else ""
        draw_band(axis, curve, colour, f"{curve.label}{is_baseline}")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)
    return figure


def _draw_apart(curves: Sequence[Curve], baseline: str | None) -> Figure:
    """One diagram per arm, on the same axes; the other arms' means are thin and grey."""
    num_columns = 3 if len(curves) <= 9 else 4
    num_rows = -(-len(curves) // num_columns)
    figure = Figure(
        figsize=(3.6 * num_columns, 0.9 + 2.5 * num_rows), layout="constrained", dpi=100
    )
    axes = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    for axis, curve in zip(axes.flat, curves, strict=False):
        for other in curves:
            if other.name not in (curve.name, baseline):
                axis.plot(other.steps, other.mean, color="0.82", linewidth=0.8, zorder=1)
            elif other.name != curve.name:
                axis.plot(*(other.steps, other.mean), color="black", linewidth=1.2, linestyle="--")
        draw_band(axis, curve, "black" if curve.name == baseline else COLOURS[0], None)
        axis.set_title(curve.label, fontsize=10)
        axis.grid(alpha=0.3)
    for index, axis in enumerate(axes.flat):
        if index >= len(curves):
            axis.axis("off")
        # Where the diagram below is empty, the steps stand here.
        axis.tick_params(labelbottom=index + num_columns >= len(curves))
    dashed = f"; dashed: {baseline}" if baseline in {curve.name for curve in curves} else ""
    figure.text(0.995, 0.005, f"grey: the other arms{dashed}", ha="right", va="bottom", fontsize=9)
    return figure


def draw_band(axis: Axes, curve: Curve, colour: str, label: str | None) -> None:
    """Draw one curve: a line, and its band where there is one.

    Args:
        axis: to draw on.
        curve: mean and band.
        colour: of both.
        label: for the legend; None for none.
    """
    # A single step has no line to be seen.
    marker = "o" if len(curve.steps) == 1 else None
    axis.plot(
        *(curve.steps, curve.mean),
        color=colour,
        label=label,
        marker=marker,
        linewidth=1.8,
        zorder=3,
    )
    if curve.num_seeds > 1:
        axis.fill_between(
            *(curve.steps, curve.low, curve.high), color=colour, alpha=0.18, linewidth=0, zorder=2
        )
