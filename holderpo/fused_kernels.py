"""Triton kernels of the clipped surrogate: one pass over the tokens forward, one backward.

Each response is one row. The forward kernel reads a row once and keeps running sums, so that the
power mean, the clip and the loss of a row come out of a single pass; what the backward kernel
needs of it are five numbers. Imported only where a fused surrogate is computed.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Rows of the forward kernel's table of numbers.
SLOPE = tl.constexpr(0)
EXTREME = tl.constexpr(1)
TOTAL = tl.constexpr(2)
ORDER = tl.constexpr(3)
ADVANTAGE = tl.constexpr(4)
LOG_RHO = tl.constexpr(5)
MEAN = tl.constexpr(6)
HELD_HIGH = tl.constexpr(7)
HELD_LOW = tl.constexpr(8)
CLIP_SHARE = tl.constexpr(9)
DUAL_SHARE = tl.constexpr(10)
LOG_RATIO_SUM = tl.constexpr(11)
NUM_TOKENS = tl.constexpr(12)
HAS_TOKENS = tl.constexpr(13)
IS_UNEVEN = tl.constexpr(14)
NUM_NUMBERS = 15
# Those whose sums over the rows are `holderpo.objective.TOTALS`, from here to the end.
FIRST_TOTAL = CLIP_SHARE.value
# Those that are statistics, by their names in `holderpo.objective.Statistics`.
NUMBERS_BY_NAME = {
    "advantage": ADVANTAGE.value,
    "log_rho": LOG_RHO.value,
    "mean_log_ratio": MEAN.value,
    "held_high": HELD_HIGH.value,
    "held_low": HELD_LOW.value,
    "clip_share": CLIP_SHARE.value,
    "dual_share": DUAL_SHARE.value,
}
# Rows of its table of flags, by the same names.
FLAG_NAMES = ("clipped_high", "clipped_low", "clipped_dual", "saturated", "uneven")

# Codes of the levels at which a ratio is clipped.
SEQUENCE_LEVEL = tl.constexpr(0)
TOKEN_LEVEL = tl.constexpr(1)

_TINY = tl.constexpr(1.17549435e-38)
# Of an order this small nothing is left but the mean: the difference is p var / 2.
_NO_ORDER = tl.constexpr(1e-20)
# Up to here the sum of expm1(p * log_ratio) is far from overflow in float32 (exp(88.7)).
_EXPM1_LIMIT = tl.constexpr(60.0)
_INFINITY = tl.constexpr(float("inf"))


@triton.jit
def _expm1(x):
    """exp(x) - 1 to a few roundings; the hardware's exponential loses the digits of a small x."""
    series = 1 / 3628800.0 * x + 1 / 362880.0
    series = series * x + 1 / 40320.0
    series = series * x + 1 / 5040.0
    series = series * x + 1 / 720.0
    series = series * x + 1 / 120.0
    series = series * x + 1 / 24.0
    series = series * x + 1 / 6.0
    series = series * x + 0.5
    return tl.where(tl.abs(x) < 1.0, x + x * x * series, tl.exp(x) - 1.0)


@triton.jit
def _log1p(x):
    """log(1 + x) of a float64 number above -1."""
    series = x * (1.0 - x * (0.5 - x / 3.0))
    return tl.where(tl.abs(x) < 1e-5, series, tl.log(1.0 + x))


@triton.jit
def _bounds(advantage, log_low, log_high, log_dual, LEVEL: tl.constexpr):
    """Range in which a token's log-ratio is held."""
    if LEVEL == TOKEN_LEVEL:
        lower = tl.where(advantage < 0, log_low, -_INFINITY)
        upper = tl.where(advantage > 0, log_high, tl.where(advantage < 0, log_dual, _INFINITY))
    else:
        lower = -log_high
        upper = log_high
    return lower, upper


@triton.jit
def _power(distance, size):
    """exp(size * distance) of a distance of at most 0; an infinite size leaves 1 at 0."""
    beyond = tl.where(size == _INFINITY, -_INFINITY, 0.0)
    distance = tl.where(distance != 0, distance + beyond, distance)
    return tl.exp(distance * tl.where(size == _INFINITY, 1.0, size))


@triton.jit(do_not_specialize=["num_rows"])
def surrogate_kernel(
    log_prob,
    old_log_prob,
    mask,
    advantages,
    orders,
    weights,
    loss,
    numbers,
    flags,
    num_rows,
    num_tokens,
    log_prob_stride,
    old_stride,
    mask_stride,
    advantages_stride,
    p_positive,
    p_negative,
    log_low,
    log_high,
    log_dual,
    ratio_low,
    ratio_high,
    ratio_dual,
    max_log_rho,
    LEVEL: tl.constexpr,
    ADVANTAGE_PER_TOKEN: tl.constexpr,
    HAS_ORDERS: tl.constexpr,
    HAS_WEIGHTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Loss, its slope in log rho, and statistics of one row, into ``numbers`` and ``flags``."""
    row = tl.program_id(0).to(tl.int64)
    log_prob += row * log_prob_stride
    old_log_prob += row * old_stride
    mask += row * mask_stride
    lane = tl.arange(0, BLOCK)

    if ADVANTAGE_PER_TOKEN:
        advantages += row * advantages_stride
        first = num_tokens
        start = 0
        while (first == num_tokens) & (start < num_tokens):
            place = start + lane
            is_token = tl.load(mask + place, mask=place < num_tokens, other=0) != 0
            first = tl.min(tl.where(is_token, place, num_tokens), 0)
            start += BLOCK
        given = tl.load(advantages + first, mask=first < num_tokens, other=0)
    else:
        given = tl.load(advantages + row)
    advantage = given.to(tl.float32)
    if HAS_ORDERS:
        p = tl.load(orders + row).to(tl.float32)
    else:
        p = tl.where(advantage < 0, p_negative, p_positive)
    p = tl.where(tl.abs(p) <= _NO_ORDER, 0.0, p)
    sign = tl.where(p < 0, -1.0, 1.0)
    # An order of 0 gives exp(0) for tokens and exp(-inf) for the padding, like every other.
    size = tl.where(p == 0, _TINY, tl.abs(p))
    finite_p = tl.where(size == _INFINITY, 0.0, p)

    count = tl.zeros([BLOCK], tl.int32)
    free_sum = tl.zeros([BLOCK], tl.float32)
    held_sum = tl.zeros([BLOCK], tl.float32)
    expm1_sum = tl.zeros([BLOCK], tl.float32)
    power_sum = tl.zeros([BLOCK], tl.float32)
    num_high = tl.zeros([BLOCK], tl.int32)
    num_low = tl.zeros([BLOCK], tl.int32)
    num_uneven = tl.zeros([BLOCK], tl.int32)
    extreme = -_INFINITY
    for start in range(0, num_tokens, BLOCK):
        place = start + lane
        is_token = tl.load(mask + place, mask=place < num_tokens, other=0) != 0
        new = tl.load(log_prob + place, mask=is_token, other=0).to(tl.float32)
        old = tl.load(old_log_prob + place, mask=is_token, other=0).to(tl.float32)
        log_ratio = new - old
        count += is_token.to(tl.int32)
        free_sum += log_ratio
        if ADVANTAGE_PER_TOKEN:
            here = tl.load(advantages + place, mask=is_token, other=0)
            num_uneven += (is_token & (here != given)).to(tl.int32)
        if LEVEL != SEQUENCE_LEVEL:
            # The 0 in the padding lies inside the bounds.
            lower, upper = _bounds(advantage, log_low, log_high, log_dual, LEVEL)
            num_high += (log_ratio > upper).to(tl.int32)
            num_low += (log_ratio < lower).to(tl.int32)
            log_ratio = tl.where(log_ratio > upper, upper, log_ratio)
            log_ratio = tl.where(log_ratio < lower, lower, log_ratio)
            held_sum += log_ratio
        signed = tl.where(is_token, sign * log_ratio, -_INFINITY)
        new_extreme = tl.maximum(extreme, tl.max(signed, 0))
        origin = tl.where(new_extreme == -_INFINITY, 0.0, new_extreme)
        # Subtracted before it is multiplied: the largest weights are exact for any order.
        power_sum = power_sum * _power(extreme - origin, size) + _power(signed - origin, size)
        extreme = new_extreme
        exponent = finite_p * log_ratio
        expm1_sum += _expm1(tl.where(exponent > _EXPM1_LIMIT, _EXPM1_LIMIT, exponent))

    num = tl.sum(count, 0)
    num_float = tl.maximum(num, 1).to(tl.float64)
    free_mean = tl.sum(free_sum, 0) / num_float
    mean = free_mean
    if LEVEL != SEQUENCE_LEVEL:
        mean = tl.sum(held_sum, 0) / num_float
    advantage = tl.where(num > 0, advantage, 0.0)
    total = tl.sum(power_sum, 0)
    extreme = tl.where(num > 0, extreme, 0.0)
    mean_expm1 = tl.sum(expm1_sum, 0) / num_float
    # Around 1, log1p loses no digit of tiny orders; far from it, the extreme carries the value.
    is_near = (size * extreme <= _EXPM1_LIMIT) & (mean_expm1 > -0.5)
    near = _log1p(tl.where(is_near, mean_expm1, 0.0)) / tl.where(p == 0, 1.0, p)
    shortfall = tl.log(total / num_float) / size
    far = sign * (extreme + tl.where(size == _INFINITY, 0.0, shortfall))
    value = tl.where(p == 0, mean, tl.where(is_near & (size != _INFINITY), near, far))
    # A sum with NaN or an infinity makes every order NaN; so does an order that is NaN.
    value = tl.where((mean - mean == 0) & (p == p), value, float("nan"))
    value = tl.where(num > 0, value, 0.0)

    log_rho = value.to(tl.float32)
    is_whole = LEVEL != TOKEN_LEVEL
    high = is_whole & (advantage > 0) & (log_rho > log_high)
    low = is_whole & (advantage < 0) & (log_rho < log_low)
    dual = is_whole & (advantage < 0) & (log_rho > log_dual)
    # Held at the bound with its gradient intact, as in the plain passes.
    is_above = log_rho > max_log_rho
    rho = tl.exp(tl.where(is_above, max_log_rho, value))
    weight = 1.0
    if HAS_WEIGHTS:
        weight = tl.where(num > 0, tl.load(weights + row).to(tl.float32), 0.0)
    scale = -advantage * weight
    slope = tl.where(high | low | dual, 0.0, rho * scale)
    rho = tl.where(high, ratio_high, tl.where(low, ratio_low, rho))
    rho = tl.where(dual, ratio_dual, rho)

    held_high = (tl.sum(num_high, 0) / num_float).to(tl.float32)
    held_low = (tl.sum(num_low, 0) / num_float).to(tl.float32)
    # A single token of a negative advantage is held from above by the dual clip alone.
    held_dual = tl.where((advantage < 0) & (LEVEL == TOKEN_LEVEL), held_high, 0.0)
    is_uneven = tl.sum(num_uneven, 0) > 0
    numbers += row
    tl.store(loss + row, (rho * scale).to(tl.float32))
    tl.store(numbers + SLOPE * num_rows, slope.to(tl.float32))
    tl.store(numbers + EXTREME * num_rows, extreme)
    tl.store(numbers + TOTAL * num_rows, total)
    tl.store(numbers + ORDER * num_rows, p)
    tl.store(numbers + ADVANTAGE * num_rows, advantage)
    tl.store(numbers + LOG_RHO * num_rows, log_rho)
    tl.store(numbers + MEAN * num_rows, free_mean.to(tl.float32))
    tl.store(numbers + HELD_HIGH * num_rows, held_high)
    tl.store(numbers + HELD_LOW * num_rows, held_low)
    tl.store(
        numbers + CLIP_SHARE * num_rows, tl.where(high | low, 1.0, held_high + held_low - held_dual)
    )
    tl.store(numbers + DUAL_SHARE * num_rows, tl.where(dual, 1.0, held_dual))
    tl.store(numbers + LOG_RATIO_SUM * num_rows, tl.sum(free_sum, 0))
    tl.store(numbers + NUM_TOKENS * num_rows, num.to(tl.float32))
    tl.store(numbers + HAS_TOKENS * num_rows, (num > 0).to(tl.float32))
    tl.store(numbers + IS_UNEVEN * num_rows, is_uneven.to(tl.float32))
    flags += row
    tl.store(flags + 0 * num_rows, high.to(tl.uint8))
    tl.store(flags + 1 * num_rows, low.to(tl.uint8))
    tl.store(flags + 2 * num_rows, dual.to(tl.uint8))
    tl.store(flags + 3 * num_rows, (is_above & ~(high | dual)).to(tl.uint8))
    tl.store(flags + 4 * num_rows, is_uneven.to(tl.uint8))


@triton.jit(do_not_specialize=["num_rows"])
def gradient_kernel(
    log_prob,
    old_log_prob,
    mask,
    upstream,
    numbers,
    gradient,
    num_rows,
    num_tokens,
    log_prob_stride,
    old_stride,
    mask_stride,
    upstream_stride,
    log_low,
    log_high,
    log_dual,
    LEVEL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """``upstream * slope * W_t`` of one block of one row, 0 for tokens that are held."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    numbers += row
    total = tl.load(numbers + TOTAL * num_rows)
    scale = tl.load(numbers + SLOPE * num_rows) / tl.where(total > 0, total, 1.0)
    scale *= tl.load(upstream + row * upstream_stride)
    extreme = tl.load(numbers + EXTREME * num_rows)
    p = tl.load(numbers + ORDER * num_rows)
    is_inside = place < num_tokens
    is_token = tl.load(mask + row * mask_stride + place, mask=is_inside, other=0) != 0
    # A clipped row has no gradient and needs not be read.
    is_read = is_token & (scale + tl.zeros([BLOCK], tl.float32) != 0)
    new = tl.load(log_prob + row * log_prob_stride + place, mask=is_read, other=0).to(tl.float32)
    old = tl.load(old_log_prob + row * old_stride + place, mask=is_read, other=0).to(tl.float32)
    log_ratio = new - old
    if LEVEL != SEQUENCE_LEVEL:
        advantage = tl.load(numbers + ADVANTAGE * num_rows)
        lower, upper = _bounds(advantage, log_low, log_high, log_dual, LEVEL)
        is_held = (log_ratio > upper) | (log_ratio < lower)
        is_read = is_read & ~is_held
    distance = tl.where(p < 0, -1.0, 1.0) * log_ratio - extreme
    weight = _power(distance, tl.where(p == 0, _TINY, tl.abs(p)))
    found = tl.where(is_read, weight * scale, 0.0)
    # A NaN among a row's tokens makes its whole gradient NaN through the slope.
    tl.store(gradient + row * num_tokens + place, found, mask=is_inside)
