"""Success of one evaluation against that of another in the same games.

Games differ more in difficulty than agents do in skill: the difference in each game, and its mean
over games, is known more closely than either success.

Shape: ``G`` games.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from holderpo.alfworld.episode_records import EpisodeRecord
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.bootstrap import estimate, resample_means
from holderpo.intervals import Interval

ALL = "all"
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class PairedDifference:
    """Of some games that both evaluations have played."""

    name: str
    """``all``, or a short name of a type of task."""
    num_games: int
    before: float
    """Success of the other evaluation: mean over games of the share of episodes won."""
    after: float
    """Success of this one."""
    interval: Interval | None
    """95 %, of ``difference``: percentiles of bootstrap resamples of the games; None where all
    games differ alike, whose resamples have no spread."""

    @property
    def difference(self) -> float:
        """Of this one over the other."""
        return self.after - self.before


def paired_differences(
    before: Iterable[EpisodeRecord], after: Iterable[EpisodeRecord]
) -> tuple[PairedDifference, ...]:
    """Compare two evaluations in the games that both have.

    Args:
        before: episodes of the other.
        after: episodes of this one.

    Returns:
        All games, then each type of task that there is; nothing if they have no game in common, by
        its content. Failed episodes count nowhere.
    """
    shares = [_share_won(records) for records in (before, after)]
    common = sorted(shares[0].keys() & shares[1].keys())
    groups = {ALL: common} if common else {}
    for task_type, name in TASK_TYPES.items():
        if of_type := [game for game in common if game[0] == task_type]:
            groups[name] = of_type
    return tuple(_paired(name, games, *shares) for name, games in groups.items())


def wins_by_game(
    records: Iterable[EpisodeRecord], key: Callable[[EpisodeRecord], _Key]
) -> dict[_Key, list[bool]]:
    """Whether each episode was won, by game; failed ones are left out.

    Args:
        records: of an evaluation.
        key: tells the games apart.

    Returns:
        Wins of each game that has an episode.
    """
    wins: dict[_Key, list[bool]] = defaultdict(list)
    for record in records:
        if not record.failed:
            wins[key(record)].append(record.won)
    return wins


# Type and content of a game: where it lies does not matter.
_Game = tuple[str, str]


def _share_won(records: Iterable[EpisodeRecord]) -> dict[_Game, float]:
    wins = wins_by_game(records, lambda record: (record.task_type, record.sha256))
    return {game: statistics.mean(won) for game, won in wins.items()}


def _paired(
    name: str, games: list[_Game], before: Mapping[_Game, float], after: Mapping[_Game, float]
) -> PairedDifference:
    differences_G = torch.tensor([after[game] - before[game] for game in games]).double()
    interval = None
    if len(set(differences_G.tolist())) > 1:
        interval = estimate(resample_means(differences_G, seed=0)).interval
    return PairedDifference(
        name=name,
        num_games=len(games),
        before=statistics.fmean(before[game] for game in games),
        after=statistics.fmean(after[game] for game in games),
        interval=interval,
    )
