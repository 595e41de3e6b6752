"""Rows that fill a round up."""

from __future__ import annotations

import random

import pytest
import torch

from recipe.holderpo.mini_batches import real_rows, spread_padding


def _shares(values: list[bool], num_ranks: int, num_updates: int) -> torch.Tensor:
    """(ranks, updates) rows of padding."""
    return torch.tensor(values).view(num_ranks, num_updates, -1).sum(-1)


@pytest.mark.parametrize(("num_ranks", "num_updates"), [(1, 1), (1, 3), (2, 3), (4, 2)])
def test_padding_is_spread_over_the_updates_of_each_device(
    num_ranks: int, num_updates: int
) -> None:
    draws = random.Random(0)
    for _ in range(50):
        num_rows = num_ranks * num_updates * draws.randint(1, 9)
        padding = [draws.random() < 0.4 for _ in range(num_rows)]
        order = spread_padding(padding, num_ranks, num_updates)
        assert sorted(order) == list(range(num_rows))
        share = num_rows // num_ranks
        assert all(row // share == place // share for place, row in enumerate(order))
        real = [row for row in order if not padding[row]]
        assert real == sorted(real)
        shares = _shares([padding[row] for row in order], num_ranks, num_updates)
        assert (shares.amax(1) - shares.amin(1)).max() <= 1


def test_rows_without_padding_stay_where_they_are() -> None:
    assert spread_padding([False] * 12, 2, 3) == list(range(12))


def test_each_row_knows_the_real_rows_of_its_mini_batch_on_all_devices() -> None:
    # Two devices, two updates of three rows each.
    padding = [False, False, True, False, True, True, False, False, False, True, True, True]
    counts = real_rows(padding, 2, 2, shuffled=False)
    assert counts.tolist() == [5, 5, 5, 1, 1, 1] * 2


def test_where_the_actors_shuffle_every_mini_batch_has_the_mean() -> None:
    padding = [False, False, True, False, True, True, False, False, False, True, True, True]
    assert real_rows(padding, 2, 2, shuffled=True).tolist() == [3.0] * 12


def test_a_mini_batch_of_padding_alone_divides_by_one() -> None:
    assert real_rows([True] * 4, 1, 2, shuffled=False).tolist() == [1.0] * 4
