"""Skipped optimiser steps: counted per round, and the run ends where they go on."""

import math

import pytest

from recipe.holderpo.skipped_updates import SkippedUpdates, SkippedUpdatesError, gradient_norms


def after(rounds, stop_after_rounds):
    """Counts of rounds with these gradient norms, and the message that ended them."""
    counter = SkippedUpdates(stop_after_rounds)
    update = counter.watched(lambda norms: {"metrics": {"grad_norm": norms}})
    counts = []
    for step, norms in enumerate(rounds, start=1):
        assert update(norms) == {"metrics": {"grad_norm": norms}}
        try:
            counts.append(counter.finish_round(step)["actor/skipped_updates"])
        except SkippedUpdatesError as error:
            return counts, str(error)
    return counts, None


GOOD, SOME, ALL = [1.0, 0.0, 2.0], [1.0, math.nan, math.inf], [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(
    ("rounds", "limit", "counts", "ends_in"),
    [
        ([GOOD, SOME, GOOD], 3, [0, 2, 0], None),
        ([SOME, SOME, GOOD, SOME, SOME], 3, [2, 2, 0, 2, 2], None),
        ([GOOD, SOME, ALL, SOME, GOOD], 3, [0, 2, 3], 4),
        ([GOOD, SOME], 1, [0], 2),
        ([ALL] * 9, None, [3] * 9, None),
    ],
)
def test_a_run_ends_after_so_many_rounds_in_a_row(rounds, limit, counts, ends_in):
    found, message = after(rounds, limit)
    assert found == counts
    assert (message is None) == (ends_in is None)
    if message:
        assert f" in step {ends_in}, and some in each of the last {limit} " in message
        assert "\n" not in message


def test_the_error_says_how_many_of_the_last_round():
    assert after([GOOD, SOME], 1)[1].startswith("actor/skipped_updates: 2 of 3 in step 2, ")


@pytest.mark.parametrize("metrics", [{}, {"grad_norm": []}])
def test_an_engine_that_reports_no_gradient_norm_is_refused(metrics):
    with pytest.raises(RuntimeError, match="reported no grad_norm"):
        gradient_norms(metrics)
