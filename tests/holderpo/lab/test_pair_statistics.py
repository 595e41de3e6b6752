"""Numbers about differences of pairs, against values made by hand."""

import math
import statistics
from itertools import product

import pytest

from holderpo.intervals import wilson_interval
from holderpo.lab.pair_statistics import (
    holm,
    improvement,
    interquartile_mean,
    sign_flip_p_value,
    smallest_p_value,
)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 2, 3], 2 / 8),  # Only all signs alike are as far.
        ([1, 2, -1], 6 / 8),  # 4 and 2, the latter in two ways; both directions.
        ([5, 5, 5, 5, -1], 2 * 2 / 32),  # 19, and 21.
        ([1, -1], 1),
        ([0, 0, 0], 1),
        ([0.5] * 16, 2 / 2**16),
    ],
)
def test_p_value_is_the_share_of_signs(differences, expected):
    assert sign_flip_p_value(differences) == expected


def test_sums_that_are_equal_but_for_rounding_are_equal():
    # Sums of tenths meet often, and rarely in floating point.
    tenths = [1, 2, 3, -6, 7, -1, 4, 3]
    all_signs = product((1, -1), repeat=len(tenths))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, tenths, strict=True)))
        for signs in all_signs
    ]
    expected = statistics.fmean(value >= abs(sum(tenths)) for value in sums)
    assert sign_flip_p_value([value / 10 for value in tenths]) == expected


def test_many_pairs_are_drawn():
    # 20 of 30 alike: the number of positive signs is binomial.
    differences = [1.0] * 20 + [-1.0] * 10
    expected = 2 * sum(math.comb(30, k) for k in range(11)) / 2**30
    assert sign_flip_p_value(differences) == pytest.approx(expected, abs=0.003)
    assert sign_flip_p_value(differences) == sign_flip_p_value(differences, seed=0)
    # The signs as measured are among the draws: never 0.
    assert sign_flip_p_value([1.0] * 60) == 1 / 100_001


def test_the_smallest_p_value_is_that_of_all_pairs_alike():
    for num_pairs in (1, 2, 8, 20, 40):
        assert smallest_p_value(num_pairs) == sign_flip_p_value([1.0] * num_pairs)


def test_holm_multiplies_by_what_is_left():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_interquartile_mean_leaves_a_quarter_out_at_each_end():
    assert interquartile_mean([100, 0, 2, 3, 4, 5, 6, -50]) == 3.5
    assert interquartile_mean([0.0, 3.0, 100.0, 4.0, 5.0]) == 4.0
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0


def test_equal_pairs_improve_by_half():
    found = improvement([0.1, -0.1, 0.0, 0.2])
    assert found.share == 0.625
    assert found.interval == wilson_interval(2.5, 4)
