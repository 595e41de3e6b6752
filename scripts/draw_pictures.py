"""The pictures of docs/ that are made of formulas and of the tables beside them.

    python scripts/draw_pictures.py

Numbers of measurements are read from the tables in docs/gradient.md and docs/speed.md, so a picture
and its table cannot differ.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holderpo.control.schedule import SHAPES
from holderpo.power_mean import token_weights
from holderpo.studies.diagrams import save

DOCS = Path(__file__).parents[1] / "docs"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, SKY, GREEN, ORANGE, RED = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00"
GREY = "#777777"
_NUMBER = r"(-?[\d.]+)"


class Measured(NamedTuple):
    """A number of a table with its interval."""

    value: float
    low: float
    high: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all pictures into a folder.

    Args:
        arguments: of the command line; the process's own by default.
    """
    parser = argparse.ArgumentParser(description=main.__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "pictures", help="default: %(default)s")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3}):
        for name, draw in PICTURES.items():
            figure = draw()
            figure.tight_layout()
            path = folder / f"{name}.svg"
            save(figure, path)
            plt.close(figure)
            print(path)


def draw_token_weights() -> Figure:
    """Weights of the tokens of one response by log-ratio, for orders -2 to 2."""
    num_tokens, spread = 200, 0.3
    ranks = (torch.arange(num_tokens, dtype=torch.float64) + 0.5) / num_tokens
    log_ratio = spread * torch.special.ndtri(ranks)
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    for p, colour in zip((-2, -1, 0, 1, 2), (BLUE, SKY, GREY, ORANGE, RED), strict=True):
        weights = token_weights(log_ratio[None], torch.ones(1, num_tokens), float(p))[0]
        axis.plot(log_ratio, num_tokens * weights, color=colour, label=f"p = {p}")
    axis.set_xlabel("log-ratio of the token (nats)")
    axis.set_ylabel("weight W, in units of 1/T")
    axis.set_ylim(0, None)
    axis.legend()
    return figure


def draw_schedules() -> Figure:
    """The schedules of Table 5 over a run: descending and ascending."""
    names = {"linear": "linear", "cosine": "sine", "power": "square", "cubic": "cube"}
    shares = torch.linspace(0, 1, 61).tolist()
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    for axis, start, title in zip(axes, (2, -2), ("descending", "ascending"), strict=True):
        for (shape, name), colour in zip(names.items(), (GREY, BLUE, GREEN, RED), strict=True):
            values = [start - 2 * start * SHAPES[shape](share, 2.0) for share in shares]
            axis.plot(shares, values, color=colour, label=f"{name} (p={shape})")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("share of the run")
    axes[0].set_ylabel("order p")
    axes[0].legend(fontsize=8)
    return figure


def draw_gradient_variance() -> Figure:
    """The variance of the gradient over that at p = 0, from the table of docs/gradient.md."""
    heading, *rows = read_table(DOCS / "gradient.md", "over p = 0")
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    columns = [place for place, title in enumerate(heading) if "over p = 0" in title]
    for place, colour, shift in zip(columns, (BLUE, ORANGE, GREEN), (-0.03, 0, 0.03), strict=True):
        cells = [measured(row[place]) for row in rows]
        draw_measured(
            axis,
            [float(row[0]) + shift for row in rows],
            cells,
            color=colour,
            marker="o",
            label=heading[place].removesuffix(": over p = 0"),
        )
    axis.set_yscale("log")
    axis.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axis.set_xticks([float(row[0]) for row in rows], [row[0] for row in rows])
    axis.set_xlabel("order p")
    axis.set_ylabel("variance over that at p = 0")
    axis.legend(fontsize=8, loc="upper center")
    return figure


def draw_loss_time() -> Figure:
    """Time of each loss over that of verl's fastest, from the table of docs/speed.md."""
    heading, *rows = read_table(DOCS / "speed.md", "memory over gspo")
    figure, axis = plt.subplots(figsize=(7.4, 5.4))
    columns = list(enumerate(heading))[1:-1]
    colours, markers = (BLUE, GREEN, ORANGE) * 2, "ooosss"
    for (place, title), colour, marker in zip(columns, colours, markers, strict=True):
        cells = [measured(row[place].partition(", ")[2]) for row in rows]
        positions = [number + (place - 3.5) * 0.13 for number in range(len(rows))]
        draw_measured(
            axis, positions, cells, color=colour, marker=marker, label=title, horizontal=True
        )
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row[0] for row in rows])
    axis.grid(visible=False, axis="y")
    axis.invert_yaxis()
    axis.set_xlim(0, None)
    axis.set_xlabel("time over that of verl's fastest loss, median and 10 to 90 % of the rounds")
    axis.legend(fontsize=8, loc="lower right")
    return figure


def draw_measured(
    axis: Axes,
    positions: Sequence[float],
    cells: Sequence[Measured],
    *,
    color: str,
    marker: str,
    label: str,
    horizontal: bool = False,
) -> None:
    """Points with their intervals, joined by a line unless they lie side by side."""
    values = [cell.value for cell in cells]
    errors = [
        [cell.value - cell.low for cell in cells],
        [cell.high - cell.value for cell in cells],
    ]
    style = {"color": color, "marker": marker, "markersize": 4, "elinewidth": 1, "label": label}
    if horizontal:
        axis.errorbar(values, positions, xerr=errors, linestyle="none", **style)
    else:
        axis.errorbar(positions, values, yerr=errors, linewidth=1, capsize=2, **style)


def read_table(page: Path, title: str) -> list[list[str]]:
    """The one table of a page with ``title`` in its heading.

    Args:
        page: Markdown.
        title: part of the heading's text.

    Returns:
        Heading and rows, each a list of its cells.

    Raises:
        ValueError: if there is not exactly one.
    """
    tables = re.findall(r"(?:^\|.*\n?)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    found = [table for table in tables if title in table.partition("\n")[0]]
    if len(found) != 1:
        raise ValueError(f"{page}: {len(found)} tables with {title!r} in the heading; need one")
    heading, _, *rows = [line.strip("| ").split(" | ") for line in found[0].splitlines()]
    return [heading, *rows]


def measured(text: str) -> Measured:
    """``0.98 (0.78 to 1.31)``, or a number that has no interval."""
    value, *ends = re.findall(_NUMBER, text)
    low, high = ends or (value, value)
    return Measured(float(value), float(low), float(high))


PICTURES: Mapping[str, Callable[[], Figure]] = {
    "token_weights": draw_token_weights,
    "schedules": draw_schedules,
    "gradient_variance": draw_gradient_variance,
    "loss_time": draw_loss_time,
}

if __name__ == "__main__":
    main()
