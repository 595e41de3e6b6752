"""Some of a split's games, as many of each task type as there are."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from holderpo.alfworld.games import Game


def evenly(games: Sequence[Game], num_games: int) -> list[Game]:
    """A part of some games, the same for every run.

    Each task type of each split gives one game after another, until there are enough or it has no
    more; which ones follows from their content alone.

    Args:
        games: to take from.
        num_games: how many, 1 or more.

    Returns:
        The games in the order they were in; all of them if there are no more than that.

    Raises:
        ValueError: for fewer than one.
    """
    if num_games < 1:
        raise ValueError(f"num_games: {num_games}; give 1 or more")
    by_type: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, game in enumerate(games):
        by_type[game.split, game.task_type].append(place)
    ranked = []
    for places in by_type.values():
        places.sort(key=lambda place: (_digest(games[place]), place))
        ranked += [(rank, place) for rank, place in enumerate(places)]
    chosen = {place for _, place in sorted(ranked)[:num_games]}
    return [game for place, game in enumerate(games) if place in chosen]


def _digest(game: Game) -> bytes:
    # Not the content's own: no order that anything else follows.
    return hashlib.sha256(f"sample/{game.sha256}".encode()).digest()
