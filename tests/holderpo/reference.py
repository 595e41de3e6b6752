"""The method in mpmath, written from the equations and sharing nothing with the package."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import mpmath

MAX_LOG_RHO = 20


class Reference(NamedTuple):
    """One response: value, derivative by each token, and distance to the nearest kink."""

    loss: float
    gradient: list[float]
    log_rho: float
    kink_distance: float


def power_mean(log_ratios: list[float], p: float) -> tuple[float, list[float]]:
    """Log of the power mean and the token weights, from at least 60 digits (Eq. 1, 8)."""
    with mpmath.workdps(_digits(p)):
        value, weights = _power_mean(log_ratios, p)
        return float(value), [float(weight) for weight in weights]


def surrogate(
    log_prob: list[float],
    old_log_prob: list[float],
    advantage: float,
    *,
    p: float,
    clip_low: float,
    clip_high: float,
    clip_level: str,
    dual_clip: float | None = None,
) -> Reference:
    """Loss of one response and its derivative by ``log_prob`` (Eq. 2, 11, 13, 16)."""
    with mpmath.workdps(_digits(p)):
        ratios = [
            mpmath.mpf(new) - mpmath.mpf(old)
            for new, old in zip(log_prob, old_log_prob, strict=True)
        ]
        high, low = mpmath.log1p(clip_high), mpmath.log1p(-clip_low)
        dual = mpmath.inf if dual_clip is None else mpmath.log(dual_clip)
        bottom, top = -mpmath.inf, mpmath.inf
        if clip_level == "token_then_sequence":
            bottom, top = -high, high
        elif clip_level == "token" and advantage > 0:
            top = high
        elif clip_level == "token" and advantage < 0:
            bottom, top = low, dual
        held = [min(max(ratio, bottom), top) for ratio in ratios]
        log_rho, weights = _power_mean(held, p)
        rho = mpmath.exp(min(log_rho, MAX_LOG_RHO))

        kinks = [log_rho - MAX_LOG_RHO]
        kinks += [ratio - edge for ratio in ratios for edge in (bottom, top)]
        limit = None
        if clip_level != "token":
            kinks += [log_rho - edge for edge in (high, low, dual)]
            if advantage > 0 and log_rho > high:
                limit = 1 + mpmath.mpf(clip_high)
            if advantage < 0 and log_rho < low:
                limit = 1 - mpmath.mpf(clip_low)
            if advantage < 0 and log_rho > dual:
                limit = mpmath.mpf(dual_clip)
        gradient = [
            mpmath.mpf(0) if limit is not None or not bottom <= ratio <= top else weight * rho
            for ratio, weight in zip(ratios, weights, strict=True)
        ]
        sign = -mpmath.mpf(advantage)
        return Reference(
            loss=float(sign * (rho if limit is None else limit)),
            gradient=[float(sign * value) for value in gradient],
            log_rho=float(log_rho),
            kink_distance=float(min(abs(distance) for distance in kinks)),
        )


def _digits(p: float) -> int:
    """60, and as many more as p has leading zeros: (1/p) log(1 + p x) loses those."""
    return 60 + (max(0, -math.floor(math.log10(abs(p)))) if 0 < abs(p) < math.inf else 0)


def _power_mean(ratios: list, p: float) -> tuple[mpmath.mpf, list[mpmath.mpf]]:
    """Of exact numbers, ``float`` or ``mpf``."""
    if p == mpmath.inf or p == -mpmath.inf:
        extreme = max(ratios) if p > 0 else min(ratios)
        shared = [mpmath.mpf(ratio == extreme) for ratio in ratios]
        num_extreme = sum(shared)
        return mpmath.mpf(extreme), [share / num_extreme for share in shared]
    if p == 0:
        return mpmath.fsum(ratios) / len(ratios), [mpmath.mpf(1) / len(ratios)] * len(ratios)
    powers = [_power(p, ratio) for ratio in ratios]
    total = mpmath.fsum(powers)
    value = mpmath.log(total / len(ratios)) / mpmath.mpf(p)
    return value, [power / total for power in powers]


# Values of long rows return; the digits in use are those of p.
@functools.lru_cache(maxsize=2**14)
def _power(p: float, ratio: float | mpmath.mpf) -> mpmath.mpf:
    return mpmath.exp(mpmath.mpf(p) * ratio)
