"""pass@k against counting subsets, and against exact fractions where counting is out of reach."""

from fractions import Fraction
from itertools import combinations
from math import comb

import pytest

from holderpo.benchmarks.pass_at_k import pass_at_k


@pytest.mark.parametrize("num_samples", range(1, 7))
def test_it_is_the_share_of_subsets_with_a_right_answer(num_samples):
    for num_correct in range(num_samples + 1):
        right = [number < num_correct for number in range(num_samples)]
        for k in range(1, num_samples + 1):
            subsets = list(combinations(right, k))
            share = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(num_samples, num_correct, k) == pytest.approx(share, abs=1e-15)


def test_its_mean_over_samples_is_pass_at_k():
    # Of problems answered right with probability 0.3, by the binomial distribution of c.
    p, num_samples, k = 0.3, 10, 4
    mean = sum(
        comb(num_samples, c) * p**c * (1 - p) ** (num_samples - c) * pass_at_k(num_samples, c, k)
        for c in range(num_samples + 1)
    )
    assert mean == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


@pytest.mark.parametrize(
    ("num_samples", "num_correct", "k"), [(10_000, 1, 7), (10_000, 9_000, 2), (4096, 17, 1024)]
)
def test_it_is_the_closest_float_for_many_samples(num_samples, num_correct, k):
    exact = 1 - Fraction(comb(num_samples - num_correct, k), comb(num_samples, k))
    assert pass_at_k(num_samples, num_correct, k) == float(exact)


def test_simple_values_are_exact():
    assert pass_at_k(8, 3, 1) == 3 / 8
    assert pass_at_k(10_000, 1, 5_000) == 0.5
    assert pass_at_k(8, 0, 8) == 0.0
    assert pass_at_k(8, 1, 8) == 1.0
    assert pass_at_k(8, 5, 4) == 1.0


@pytest.mark.parametrize("arguments", [(4, 2, 0), (4, 2, 5), (4, 5, 2), (4, -1, 2), (0, 0, 1)])
def test_numbers_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match="of"):
        pass_at_k(*arguments)
