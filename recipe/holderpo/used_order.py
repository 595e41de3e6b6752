"""The order that the actors used, held against the one that the driver handed out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from holderpo.control.order import Order, OrderBySign, order_range
from holderpo.control.rules import SIDES
from holderpo.metrics import LOG_RATIO_MAX, P_MAX, P_MEAN, P_MIN, P

# Orders of single responses are float32; relative above 1, absolute below.
_TOLERANCE = 1e-6
_ADVANTAGE = {"positive": "an advantage of 0 or more", "negative": "a negative advantage"}

Ends = tuple[float, float]


class OrderMismatchError(RuntimeError):
    """A loss was computed with another order than the driver's."""


def extreme_name(side: str, kind: str) -> str:
    """Name under which the actors report an extreme of the orders of one side's responses.

    verl reduces over mini-batches by name, so this holds one of ``min`` and ``max``.

    Args:
        side: ``negative`` for responses with a negative advantage, ``positive`` for the others.
        kind: ``min`` or ``max``.
    """
    return f"{P}_{side}_{kind}"


def take_orders(
    finished: dict[str, float], order: Order, handed: Mapping[str, float]
) -> dict[str, float]:
    """What is logged about p, from what the actors used.

    Args:
        finished: metrics from ``finish_metrics``; what they say of orders is taken out.
        order: of the round, as it was put into the batch.
        handed: its values by metric, from ``Controller.value``; nothing where responses have
            their own.

    Returns:
        The order, or one for each sign of the advantage; mean and extremes over the responses
        where not all have the same. Nothing for a sign or a round without responses.

    Raises:
        OrderMismatchError: if the actors used what was not handed out, naming both.
    """
    reported = {
        side: (finished.pop(extreme_name(side, "min")), finished.pop(extreme_name(side, "max")))
        for side in SIDES
        if extreme_name(side, "min") in finished
    }
    mean = finished.pop(P_MEAN, math.nan)
    # The smallest of no responses is infinite, and above the largest.
    used = {side: ends for side, ends in reported.items() if not ends[0] > ends[1]}
    if not used:
        if LOG_RATIO_MAX in finished:
            raise OrderMismatchError(
                f"{P}: the actors have updated on this round without saying with which order; "
                "the policy loss must be computed in the process and thread that calls it"
            )
        return {}
    for side, ends in used.items():
        _check(side, ends, order, handed)
    if P in handed:
        return {P: min(low for low, _ in used.values())}
    of_signs = {f"{P}_{side}": low for side, (low, _) in used.items() if f"{P}_{side}" in handed}
    of_rows = {P_MEAN: mean}
    if len(handed) < len(SIDES):
        of_rows[P_MIN] = min(low for low, _ in used.values())
        of_rows[P_MAX] = max(high for _, high in used.values())
    return of_signs | of_rows


def _check(side: str, used: Ends, order: Order, handed: Mapping[str, float]) -> None:
    """Refuse orders of one side beyond what it was handed."""
    name = f"{P}_{side}"
    value = handed.get(P, handed.get(name))
    low, high = order_range(order, side) if value is None else (value, value)
    # Written so that NaN does not pass.
    if _is_at_most(low, used[0]) and _is_at_most(used[1], high):
        return
    if value is None:
        inner = getattr(order, side) if isinstance(order, OrderBySign) else order
        sent = f"but {type(inner).__name__} declares {_shown(low, high)}; correct its low and high"
        fix = "or its for_rows"
    else:
        sent = f"but the driver handed out {_shown(low, high)}; let the batch and the policy loss"
        fix = "keep the order that they are given"
    raise OrderMismatchError(
        f"{P if P in handed else name}: the actors used {_shown(*used)} for responses with "
        f"{_ADVANTAGE[side]}, {sent} {fix}"
    )


def _is_at_most(smaller: float, larger: float) -> bool:
    return smaller <= larger or math.isclose(
        smaller, larger, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
    )


def _shown(low: float, high: float) -> str:
    return f"{low:.9g}" if low == high else f"{low:.9g} to {high:.9g}"
