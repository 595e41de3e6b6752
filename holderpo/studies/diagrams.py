"""Pictures of a run's metrics over its steps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Formats of a picture.
ENDINGS = (".png", ".svg")
NOT_FINITE_LABEL = "not finite"


class Diagram(NamedTuple):
    """One diagram: metric names and their labels, drawn over the step."""

    title: str
    """Above the diagram; unit included."""
    curves: Mapping[str, str]
    """Metric name to label."""
    limits: tuple[float | None, float | None] = (None, None)
    """Range of the vertical axis; None is chosen from the data."""


def draw_diagrams(
    rows: Sequence[Mapping[str, float]], diagrams: Sequence[Diagram], path: Path, *, title: str
) -> None:
    """Draw diagrams side by side, three per row, into one picture.

    Args:
        rows: one mapping per step, each with ``step``; a metric missing in a step is skipped there,
            one that is not finite leaves a gap, and a cross on the lower edge.
        diagrams: what to draw.
        path: picture file; its ending chooses the format.
        title: above the picture.
    """
    num_columns = min(3, len(diagrams))
    num_rows = -(-len(diagrams) // num_columns)
    figure, axes = plt.subplots(
        num_rows, num_columns, figsize=(4.6 * num_columns, 3.1 * num_rows), squeeze=False
    )
    for axis, diagram in zip(axes.flat, diagrams, strict=False):
        for name, label in diagram.curves.items():
            points = [(row["step"], row[name]) for row in rows if name in row]
            # Between gaps a single point would have no line to be seen.
            few = len(points) < len(rows) / 2 or any(not math.isfinite(y) for _, y in points)
            curve = [(x, y if math.isfinite(y) else math.nan) for x, y in points]
            if curve:
                axis.plot(*zip(*curve, strict=True), label=label, marker="o" if few else None)
        _mark_not_finite(axis, rows, diagram.curves)
        axis.set_title(diagram.title, fontsize=10)
        axis.set_ylim(*diagram.limits)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        labels = axis.get_legend_handles_labels()[1]
        if len(labels) > 1 or NOT_FINITE_LABEL in labels:
            axis.legend(fontsize=8)
    for axis in list(axes.flat)[len(diagrams) :]:
        axis.axis("off")
    figure.suptitle(title)
    figure.tight_layout()
    save(figure, path)
    plt.close(figure)


def _mark_not_finite(axis: Axes, rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> None:
    """A cross for each step in which one of the metrics is not finite."""
    steps = [
        row["step"] for row in rows if not all(math.isfinite(row.get(name, 0.0)) for name in names)
    ]
    if steps:
        axis.plot(
            *(steps, [0.0] * len(steps)),
            transform=axis.get_xaxis_transform(),
            label=NOT_FINITE_LABEL,
            color="red",
            marker="x",
            linestyle="none",
            clip_on=False,
        )


def save(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Write a picture; the same figure gives the same bytes.

    Args:
        figure: to write.
        path: its ending chooses the format.
        dpi: of a format made of dots.
    """
    if path.suffix != ".svg":
        figure.savefig(path, dpi=dpi)
        return
    # Text stays text: smaller, and in the fonts of whoever looks.
    with matplotlib.rc_context({"svg.hashsalt": "holderpo", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    path.write_text(_smaller(path.read_text(encoding="utf-8")), encoding="utf-8")


def _smaller(svg: str) -> str:
    """The same picture without indentation, its coordinates to a hundredth of a point."""
    lines = "".join(f"{line.strip()}\n" for line in svg.splitlines())
    return re.sub(r"\b([1-9]\d*\.\d{2})\d+", r"\1", lines)
