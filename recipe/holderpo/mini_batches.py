"""Rows of a round in the mini-batches of its updates, where verl had to fill the round up.

verl adds rows without tokens until the round divides into mini-batches, and divides the loss of
each mini-batch by its number of rows, those included. With turns of episodes as rows nearly every
round is filled up, by up to a mini-batch. Here the filling is spread over all mini-batches, and
each is divided by the rows that are not filling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Of each row: rows of its mini-batch over all devices, without those that fill it up. A field of
# the batch, from the driver to the actors.
REAL_ROWS = "real_rows"


def spread_padding(padding: Sequence[bool], num_ranks: int, num_updates: int) -> list[int]:
    """An order of the rows in which no update has much more padding than another.

    Args:
        padding: of each row, in the order in which devices take their equal shares of it.
        num_ranks: devices among which the rows are divided.
        num_updates: mini-batches a round.

    Returns:
        Places of the rows; each device keeps its rows, and real ones keep their order.
    """
    share = len(padding) // num_ranks
    size = share // num_updates
    order: list[int] = []
    for rank in range(num_ranks):
        rows = range(rank * share, (rank + 1) * share)
        real = [row for row in rows if not padding[row]]
        filling = [row for row in rows if padding[row]]
        for update in range(num_updates):
            begin, end = (len(real) * k // num_updates for k in (update, update + 1))
            missing = size - (end - begin)
            order += real[begin:end] + filling[:missing]
            del filling[:missing]
    return order


def real_rows(
    padding: Sequence[bool], num_ranks: int, num_updates: int, *, shuffled: bool
) -> Tensor:
    """How many rows each row's mini-batch has that are not padding.

    Args:
        padding: of each row, in the order in which devices take their equal shares of it.
        num_ranks: devices among which the rows are divided.
        num_updates: mini-batches a round.
        shuffled: whether the actors draw each mini-batch at random, so that only the mean is known.

    Returns:
        (rows,) float32, at least 1.
    """
    is_real = ~torch.tensor(padding, dtype=torch.bool)
    shape = (num_ranks, num_updates, len(padding) // (num_ranks * num_updates))
    of_updates = is_real.view(shape).sum(dim=(0, 2)).float()
    if shuffled:
        of_updates = of_updates.mean().expand(num_updates)
    of_updates = of_updates.clamp(min=1.0)
    return of_updates.view(1, -1, 1).expand(shape).reshape(-1)
