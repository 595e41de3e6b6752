"""What the reward function said beside the reward, on the driver; verl logs it in validation only.

Rows are the responses of a batch, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipe.holderpo.turn_rows import TURN_FIELD, is_padding

TRUNCATED = "truncated"
# Keys of the reward function's result whose mean is logged in training, as reward/<key>_frac.
SHARES = ("no_answer", "unparseable", "timeout", "error", TRUNCATED)


def reward_extras(extra_fields: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was said of each response beside its reward.

    Args:
        extra_fields: verl's, of each row.

    Returns:
        What the reward function returned, empty where it said nothing; of a turn of an episode also
        whether it was truncated.
    """
    extras = []
    for fields in extra_fields:
        extra, turn = fields.get("reward_extra_info", {}), fields.get(TURN_FIELD)
        extras.append(extra if turn is None else {**extra, TRUNCATED: float(turn[TRUNCATED])})
    return extras


def reward_shares(
    extras: Sequence[Mapping[str, Any]], tags: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Shares of the responses without a verdict, and of the truncated ones.

    Args:
        extras: of each row.
        tags: of each row; rows that are padding do not count.

    Returns:
        ``reward/<key>_frac`` for each key of ``SHARES`` that the reward function reports.
    """
    rows = [extra for extra, padding in zip(extras, is_padding(tags), strict=True) if not padding]
    shares = {}
    for key in SHARES:
        values = [float(row[key]) for row in rows if key in row]
        if values:
            shares[f"reward/{key}_frac"] = sum(values) / len(values)
    return shares


def truncated_rows(extras: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """Which rows were cut off, as the reward manager saw it.

    Args:
        extras: of each row.

    Returns:
        (rows,) bool; none if the reward manager does not say.
    """
    if not extras or any(TRUNCATED not in extra for extra in extras):
        return None
    return np.array([extra[TRUNCATED] > 0 for extra in extras])
