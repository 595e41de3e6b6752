"""What the actors used of p against what the driver handed out."""

import dataclasses
import math

import pytest

from holderpo.control.order import ClipAwareOrder, OrderBySign, UniformOrder
from recipe.holderpo.used_order import OrderMismatchError, take_orders

ABSENT = (math.inf, -math.inf)
CLIP_AWARE = ClipAwareOrder(clip_frac_max=0.5, low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class MyOrder:
    """As a user would write it; for_rows is not needed here."""

    low: float | None = None
    high: float | None = None


def finished(positive, negative, mean=0.5):
    """What finish_metrics makes of the actors' reports; ``ABSENT`` for a sign without responses."""
    ends = {"positive": positive, "negative": negative}
    return {
        "holder/log_ratio_max": 0.1,
        "holder/p_mean": mean,
        **{f"holder/p_{side}_min": low for side, (low, _) in ends.items()},
        **{f"holder/p_{side}_max": high for side, (_, high) in ends.items()},
    }


def of_signs(positive, negative):
    order = OrderBySign(UniformOrder(positive), UniformOrder(negative))
    return order, {"holder/p_positive": positive, "holder/p_negative": negative}


@pytest.mark.parametrize(
    ("order", "handed", "positive", "negative", "logged"),
    [
        (UniformOrder(2.0), {"holder/p": 2.0}, (2.0, 2.0), (2.0, 2.0), {"p": 2.0}),
        (UniformOrder(2.0), {"holder/p": 2.0}, (2.0, 2.0), ABSENT, {"p": 2.0}),
        (UniformOrder(2.0), {"holder/p": 2.0}, ABSENT, (2.0, 2.0), {"p": 2.0}),
        (UniformOrder(0.1), {"holder/p": 0.1}, (0.1 + 9e-7,) * 2, ABSENT, {"p": 0.1 + 9e-7}),
        # Half a unit in the last place of float32 is more than 1e-6 there.
        (UniformOrder(100.3), {"holder/p": 100.3}, (100.30001,) * 2, ABSENT, {"p": 100.30001}),
        (
            UniformOrder(math.inf),
            {"holder/p": math.inf},
            (math.inf, math.inf),
            ABSENT,
            {"p": math.inf},
        ),
        (
            *of_signs(-2.0, 2.0),
            (-2.0, -2.0),
            (2.0, 2.0),
            {"p_positive": -2.0, "p_negative": 2.0, "p_mean": 0.5},
        ),
        (*of_signs(-2.0, 2.0), (-2.0, -2.0), ABSENT, {"p_positive": -2.0, "p_mean": 0.5}),
        (CLIP_AWARE, {}, (0.0, 0.9), (0.2, 1.0), {"p_mean": 0.5, "p_min": 0.0, "p_max": 1.0}),
        (
            OrderBySign(UniformOrder(-2.0), CLIP_AWARE),
            {"holder/p_positive": -2.0},
            (-2.0, -2.0),
            (0.2, 1.0 + 1e-7),
            {"p_positive": -2.0, "p_mean": 0.5, "p_min": -2.0, "p_max": 1.0 + 1e-7},
        ),
        (MyOrder(), {}, (-9.0, 9.0), ABSENT, {"p_mean": 0.5, "p_min": -9.0, "p_max": 9.0}),
        (MyOrder(low=-9), {}, (-9.0, 99.0), ABSENT, {"p_mean": 0.5, "p_min": -9.0, "p_max": 99.0}),
    ],
)
def test_what_was_used_is_logged(order, handed, positive, negative, logged):
    metrics = finished(positive, negative)
    assert take_orders(metrics, order, handed) == {
        f"holder/{name}": value for name, value in logged.items()
    }
    assert metrics == {"holder/log_ratio_max": 0.1}, "the actors' own reports are taken out"


@pytest.mark.parametrize(
    ("order", "handed", "positive", "negative", "message"),
    [
        (
            UniformOrder(2.0),
            {"holder/p": 2.0},
            (1.0, 1.0),
            (1.0, 1.0),
            "holder/p: the actors used 1 for responses with an advantage of 0 or more, but the "
            "driver handed out 2; ",
        ),
        (
            UniformOrder(0.1),
            {"holder/p": 0.1},
            (0.1, 0.1),
            (0.1, 0.100002),
            "holder/p: the actors used 0.1 to 0.100002 for responses with a negative advantage, "
            "but the driver handed out 0.1; ",
        ),
        (
            UniformOrder(2.0),
            {"holder/p": 2.0},
            (math.nan, math.nan),
            ABSENT,
            "holder/p: the actors used nan to nan ",
        ),
        (
            *of_signs(-2.0, 2.0),
            (2.0, 2.0),
            (-2.0, -2.0),
            "holder/p_positive: the actors used 2 for responses with an advantage of 0 or more, "
            "but the driver handed out -2; ",
        ),
        (
            OrderBySign(UniformOrder(-2.0), CLIP_AWARE),
            {"holder/p_positive": -2.0},
            (-2.0, -2.0),
            (-2.0, 1.0),
            "holder/p_negative: the actors used -2 to 1 for responses with a negative advantage, "
            "but ClipAwareOrder declares 0 to 1; correct its low and high or its for_rows",
        ),
        (
            MyOrder(high=1.0),
            {},
            (0.0, 1.1),
            ABSENT,
            "holder/p_positive: the actors used 0 to 1.1 for responses with an advantage of 0 or "
            "more, but MyOrder declares -inf to 1; ",
        ),
    ],
)
def test_anything_else_ends_the_run_and_names_both(order, handed, positive, negative, message):
    with pytest.raises(OrderMismatchError) as raised:
        take_orders(finished(positive, negative), order, handed)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_an_update_that_says_nothing_of_its_order_ends_the_run():
    with pytest.raises(OrderMismatchError, match="without saying with which order"):
        take_orders({"holder/log_ratio_max": 0.1}, UniformOrder(2.0), {"holder/p": 2.0})


def test_a_round_without_responses_has_no_order():
    assert take_orders({"holder/nonfinite_frac": 0.0}, UniformOrder(2.0), {"holder/p": 2.0}) == {}
