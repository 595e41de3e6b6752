"""Which turn of which episode each row of a batch is, on the driver.

verl makes a row of every turn that the agent loop returns, reorders the rows to balance the devices
and pads them; what belongs together is told from the keys and from what the loop wrote beside each
row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holderpo.turn_advantage import TurnBatch
from recipe.holderpo.sections import HOLDER

# Where the agent loop writes in verl's `extra_fields` of a row.
TURN_FIELD, EPISODE_FIELD = "turn", "episode"
# Of the row that stands for an episode without any turn.
_NO_TURN: Mapping[str, Any] = {"reward": 0.0, "penalty": 0.0, "anchor": "", "truncated": False}


@dataclass(frozen=True)
class TurnRows:
    """The real rows of a batch as turns of their episodes."""

    rows: Tensor
    """(B,) int64; positions of the turns in the batch, which may hold padding besides."""
    num_rows: int
    """Rows of the batch, padding included."""
    values: Mapping[str, Any]
    """Fields of :class:`~holderpo.turn_advantage.TurnBatch`, but for those of tokens."""

    def turn_batch(self, lengths_tokens: Tensor, max_response_tokens: int) -> TurnBatch:
        """The turns, with what the batch says of their tokens.

        Args:
            lengths_tokens: (num_rows,) int64; response tokens that the loss counts.
            max_response_tokens: length at which a response is cut off.

        Returns:
            The turns in the order of ``rows``.
        """
        assert len(lengths_tokens) == self.num_rows, "the batch has other rows than its keys say"
        return TurnBatch(
            **self.values,
            lengths_tokens=lengths_tokens[self.rows],
            max_response_tokens=max_response_tokens,
        )

    @property
    def mean_return(self) -> float | None:
        """Mean over episodes of their returns; none without any episode."""
        returns = dict(
            zip(
                self.values["episodes"].tolist(),
                self.values["episode_returns"].tolist(),
                strict=True,
            )
        )
        return sum(returns.values()) / len(returns) if returns else None


def is_padding(tags: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which rows verl added to fill the batch.

    Args:
        tags: of each row.
    """
    return [bool(tag.get("is_padding", False)) for tag in tags]


def turn_rows(
    keys: Sequence[str], extras: Sequence[Mapping[str, Any]], padding: Sequence[bool]
) -> TurnRows | None:
    """Find the turns of a batch again, in whatever order its rows are.

    Args:
        keys: verl's, ``<prompt>_<episode>_<turn>``.
        extras: verl's ``extra_fields`` of each row; those of padding say nothing.
        padding: which rows are padding.

    Returns:
        The turns; none if every episode is one row of which nothing is said, a plain response.

    Raises:
        ValueError: if an episode has several rows of which nothing is said, or if a turn between
            others is missing or there twice.
    """
    real = [row for row in range(len(keys)) if not padding[row]]
    places = [_place(keys[row]) for row in real]
    if not any(EPISODE_FIELD in extras[row] for row in real):
        several = len(real) - len({episode for _, episode, _ in places})
        if several:
            raise ValueError(
                f"algorithm.adv_estimator: '{HOLDER}', but the agent loop returned several rows "
                f"per episode ({several} of {len(real)} rows are not the first of theirs) without "
                f"extra_fields '{EPISODE_FIELD}' and '{TURN_FIELD}', so each would count as a "
                "response of its own; write those, return one row, or choose 'grpo'"
            )
        return None
    episodes = [_said(extras[row], EPISODE_FIELD, keys[row]) for row in real]
    _check_whole(places, [int(episode["num_turns"]) for episode in episodes])
    turns = [
        # An episode may have failed before its first turn.
        _NO_TURN if not episode["num_turns"] else _said(extras[row], TURN_FIELD, keys[row])
        for row, episode in zip(real, episodes, strict=True)
    ]
    values = {
        "groups": _numbered([group for group, _, _ in places]),
        "episodes": _numbered([episode for _, episode, _ in places]),
        "turns": torch.tensor([turn for _, _, turn in places], dtype=torch.int64),
        "episode_returns": _column(episodes, "return"),
        "rewards": _column(turns, "reward"),
        "penalties": _column(turns, "penalty"),
        "anchors": [str(turn["anchor"]) for turn in turns],
        "truncated": torch.tensor([bool(turn["truncated"]) for turn in turns]),
    }
    return TurnRows(torch.tensor(real, dtype=torch.int64), len(keys), values)


def _place(key: str) -> tuple[str, str, int]:
    """Task, episode and turn of a row."""
    episode, _, turn = key.rpartition("_")
    return episode.rpartition("_")[0], episode, int(turn)


def _check_whole(places: Sequence[tuple[str, str, int]], num_turns: Sequence[int]) -> None:
    """Without one of its turns an episode's later rewards would be credited wrongly."""
    found = defaultdict(list)
    lengths = {}
    for (_, episode, turn), length in zip(places, num_turns, strict=True):
        found[episode].append(turn)
        # An episode that failed before its first turn has a row all the same.
        lengths[episode] = max(length, 1)
    for episode, turns in found.items():
        if sorted(turns) != list(range(lengths[episode])):
            raise ValueError(
                f"episode {episode}: has rows of the turns {sorted(turns)}; all from 0 to "
                f"{lengths[episode] - 1} must be there, each once (the agent loop returns them, "
                "and no row may be left out after)"
            )


def _said(extra: Mapping[str, Any], field: str, key: str) -> Mapping[str, Any]:
    """What the agent loop said of a row."""
    if field not in extra:
        raise ValueError(
            f"row {key}: extra_fields has no '{field}', as others of the batch have; the agent "
            "loop must write it for every turn"
        )
    said: Mapping[str, Any] = extra[field]
    return said


def _numbered(names: Sequence[str]) -> Tensor:
    """A number for each name."""
    numbers: dict[str, int] = {}
    return torch.tensor(
        [numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64
    )


def _column(said: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    return torch.tensor([float(one[name]) for one in said], dtype=torch.double)
