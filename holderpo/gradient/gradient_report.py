"""A measurement of the gradient as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from holderpo.bootstrap import Estimate
from holderpo.gradient.measurement import (
    COSINE_QUANTILES,
    NUM_COSINE_BINS,
    Measurement,
    OrderMeasurement,
    Variance,
)
from holderpo.sheets import Sheet, fit, markdown
from holderpo.studies.diagrams import save

_VARIANCE_HEADINGS = (
    "p",
    "variance",
    "over p nearest 0",
    "smallest in",
    "over squared mean",
    "smallest in",
    "clipped: over p nearest 0",
    "clipped: over squared mean",
    "clipped responses",
    "Thm 2 over variance",
)
_TOKEN_HEADINGS = (
    "p",
    "ESS fraction",
    "HHI",
    "top 10 % share",
    "second moment",
    "Thm 7",
    "measured over Thm 7",
    "measured over orthogonal",
)


def to_markdown(measurement: Measurement) -> str:
    """Sizes, tables over the orders, and the directions of the token gradients.

    Args:
        measurement: to show.

    Returns:
        Markdown; intervals are 95 %, from the bootstrap over groups.
    """
    m = measurement
    quantiles = ", ".join(
        f"{100 * fraction:g} %: {value:+.3f}"
        for fraction, value in zip(COSINE_QUANTILES, m.directions.quantiles, strict=True)
    )
    lines = [
        f"{m.num_responses} responses of {m.num_groups} prompts ({m.num_groups_with_signal} with "
        f"signal), {m.num_tokens} tokens; mini-batches of {m.responses_per_mini_batch} responses. "
        f"Log-ratios: standard deviation within a response {m.log_ratio_std:.4f}, "
        f"{m.log_ratio_min:+.3f} to {m.log_ratio_max:+.3f} nats. Token gradients: mean squared "
        f"norm {m.mean_square_token_norm:.4g}, largest norm {m.largest_token_norm:.4g}.",
        "",
        "Variance of the gradient of a mini-batch (trace of its covariance), unclipped and "
        "sequence-clipped. Intervals are 95 %, from resampled prompts; 'smallest in' is the share "
        "of the resamples in which this p has the smallest value; inf: the mean gradient cannot "
        "be told from 0.",
        "",
        *_table(_VARIANCE_HEADINGS, [_variance_row(order) for order in m.orders]),
        "",
        "Concentration on tokens, and second moment of the gradient of one response, unclipped, "
        "beside Theorem 7 (one norm for all tokens) and beside orthogonal tokens of the real "
        "norms.",
        "",
        *_table(_TOKEN_HEADINGS, [_token_row(order) for order in m.orders]),
        "",
        f"Cosine of token gradients within a response ({m.directions.num_pairs} pairs): mean "
        f"{m.directions.mean:+.4f}, mean absolute {m.directions.mean_absolute:.4f}; {quantiles}. "
        "Square of the sum over sum of squares: "
        f"{m.directions.square_of_sum_over_sum_of_squares:.3f} (1 if orthogonal).",
    ]
    return "\n".join(lines) + "\n"


def _variance_row(order: OrderMeasurement) -> list[str]:
    free, clipped = order.unclipped, order.clipped
    return [
        f"{order.p:+g}",
        _with_interval(free.total),
        _with_interval(free.relative_to_reference),
        f"{100 * free.smallest_frac:.0f} %",
        _with_interval(free.relative_to_mean),
        f"{100 * free.smallest_relative_frac:.0f} %",
        _with_interval(clipped.relative_to_reference),
        _with_interval(clipped.relative_to_mean),
        f"{100 * order.clip_frac:.1f} %",
        f"{order.variance_bound / free.total.value:.3g}" if free.total.value > 0 else "-",
    ]


def _token_row(order: OrderMeasurement) -> list[str]:
    return [
        f"{order.p:+g}",
        f"{order.ess_frac:.4f}",
        f"{order.hhi:.4f}",
        f"{order.top_token_share:.4f}",
        f"{order.second_moment:.4g}",
        f"{order.predicted_second_moment:.4g}",
        _with_interval(order.measured_over_predicted),
        _with_interval(order.measured_over_orthogonal),
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of as many tables as fit a terminal side by side with p."""
    return "\n\n".join(map(markdown, fit(Sheet("", headings, rows)))).splitlines()


def _with_interval(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.3g} ({low:.3g} to {high:.3g})"


def draw_gradient(measurement: Measurement, path: Path, *, title: str) -> None:
    """Draw variance, concentration and directions, three diagrams per row, into one picture.

    Args:
        measurement: to show.
        path: picture file; its ending chooses the format.
        title: above the picture.
    """
    figure = Figure(figsize=(14.4, 7.6))
    axes = figure.subplots(2, 3)
    orders = sorted(measurement.orders)
    _draw_shapes(axes[0, 0], orders)
    for axis, heading, chosen in (
        (axes[0, 1], "variance / variance at the p nearest 0", lambda v: v.relative_to_reference),
        (
            axes[0, 2],
            "variance / squared mean gradient, where told from 0",
            lambda v: v.relative_to_mean,
        ),
    ):
        _draw_variances(axis, orders, chosen)
        axis.set_title(heading, fontsize=10)
        _scale_log(axis)
        axis.set_xlim(axes[0, 0].get_xlim())
    _draw_concentration(axes[1, 0], orders)
    _draw_predictions(axes[1, 1], orders)
    _draw_cosines(axes[1, 2], measurement)
    for axis in list(axes.flat)[:-1]:
        axis.set_xlabel("order p")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    save(figure, path)


def _draw_shapes(axis: Axes, orders: Sequence[OrderMeasurement]) -> None:
    reference = min(orders, key=lambda order: abs(order.p))
    curves: dict[str, Callable[[OrderMeasurement], float]] = {
        "measured variance": lambda order: order.unclipped.total.value,
        "measured second moment": lambda order: order.second_moment,
        "Thm 7, second moment": lambda order: order.predicted_second_moment,
        "Thm 2, bound of the variance": lambda order: order.variance_bound,
    }
    for (label, value), style in zip(curves.items(), ("o-", "s-", "--", ":"), strict=True):
        unit = value(reference) or math.nan
        values = [value(order) / unit for order in orders]
        axis.plot([order.p for order in orders], values, style, label=label, markersize=4)
    _scale_log(axis)
    axis.set_title("unclipped, each over its value at the p nearest 0", fontsize=10)


def _draw_variances(
    axis: Axes, orders: Sequence[OrderMeasurement], chosen: Callable[[Variance], Estimate]
) -> None:
    positions = [order.p for order in orders]
    _draw_estimates(axis, positions, [chosen(order.unclipped) for order in orders], "unclipped")
    clipped = [chosen(order.clipped) for order in orders]
    values = [estimate.value if _is_finite(estimate) else math.nan for estimate in clipped]
    axis.plot(positions, values, "s--", label="sequence-clipped", markersize=3)


def _draw_estimates(
    axis: Axes, positions: Sequence[float], estimates: Sequence[Estimate], label: str
) -> None:
    """A curve with its 95 % intervals as a band; places with an infinite end are left out."""
    shown = [(e.value, *e.interval) if _is_finite(e) else (math.nan,) * 3 for e in estimates]
    values, lows, highs = zip(*shown, strict=True)
    (line,) = axis.plot(positions, values, "o-", label=label, markersize=4)
    axis.fill_between(positions, lows, highs, alpha=0.2, color=line.get_color(), linewidth=0)


def _scale_log(axis: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, where there is anything to show on it."""
    if not (math.isfinite(axis.dataLim.y0) and axis.dataLim.y1 > 0):
        return
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")


def _is_finite(estimate: Estimate) -> bool:
    return all(map(math.isfinite, (estimate.value, *estimate.interval)))


def _draw_concentration(axis: Axes, orders: Sequence[OrderMeasurement]) -> None:
    positions = [order.p for order in orders]
    for label, style, values in (
        ("ESS fraction", "o-", [order.ess_frac for order in orders]),
        ("share of the top 10 %", "s-", [order.top_token_share for order in orders]),
        ("HHI", "^-", [order.hhi for order in orders]),
    ):
        axis.plot(positions, values, style, label=label, markersize=4)
    axis.set_ylim(0, 1.05)
    axis.set_title("concentration of the token weights", fontsize=10)


def _draw_predictions(axis: Axes, orders: Sequence[OrderMeasurement]) -> None:
    positions = [order.p for order in orders]
    for label, estimates in (
        ("over Thm 7", [order.measured_over_predicted for order in orders]),
        ("over orthogonal, real norms", [order.measured_over_orthogonal for order in orders]),
    ):
        _draw_estimates(axis, positions, estimates, label)
    axis.axhline(1, color="black", linewidth=0.8)
    _scale_log(axis)
    axis.set_title("measured second moment / prediction", fontsize=10)


def _draw_cosines(axis: Axes, measurement: Measurement) -> None:
    directions = measurement.directions
    width = 2 / NUM_COSINE_BINS
    edges = [-1 + index * width for index in range(NUM_COSINE_BINS)]
    density = [count / directions.num_pairs / width for count in directions.histogram]
    axis.bar(edges, density, width=width, align="edge", label="pairs of tokens (density)")
    axis.axvline(directions.mean, color="tab:red", label=f"mean {directions.mean:+.3f}")
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_xlabel("cosine of two token gradients")
    axis.set_title("directions within a response", fontsize=10)
