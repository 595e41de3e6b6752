"""Numbers of an evaluation on ALFWorld: success of the panel and of each type of task.

Shape: ``G`` games.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from holderpo.alfworld.episode_records import EpisodeRecord
from holderpo.alfworld.games import Game, Manifest
from holderpo.alfworld.paired_success import (
    ALL,
    PairedDifference,
    paired_differences,
    wins_by_game,
)
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turns import Outcome
from holderpo.bootstrap import interval_of_mean
from holderpo.intervals import Interval

_DIGEST_LENGTH = 8


@dataclass(frozen=True)
class GroupScore:
    """Numbers of some games; those of episodes that failed are in none of them."""

    name: str
    """``all``, a short name of a type of task, or what is left out."""
    num_games: int
    """That were to be played."""
    num_played_games: int
    """With an episode that did not fail."""
    num_episodes: int
    """That did not fail."""
    num_failed: int
    """Episodes that the environment failed."""
    success: float | None
    """Mean over games of the share of their episodes that were won; None if none was played."""
    interval: Interval | None
    """95 %, of ``success``."""
    interval_kind: str
    """How the interval is made."""
    outcomes: Mapping[Outcome, int]
    """Episodes by outcome."""
    steps: float | None
    """Mean over episodes."""
    steps_won: float | None
    """Mean over episodes that were won."""
    mean_return: float | None
    """Mean over episodes."""
    truncated: float | None
    """Share of turns."""
    malformed: float | None
    """Share of turns."""
    inadmissible: float | None
    """Share of turns."""


@dataclass(frozen=True)
class PassScore:
    """One time through the games."""

    number: int
    """From 1."""
    num_episodes: int
    """That did not fail."""
    num_failed: int
    success: float | None
    """Share of the episodes that were won; None if none was played."""


@dataclass(frozen=True)
class PanelScore:
    """All numbers of an evaluation."""

    name: str
    """``valid_seen``, or of a part ``valid_seen_12_of_140``."""
    digest: str
    """Of the split's games, the first digits."""
    whole: GroupScore
    """Of all games."""
    by_type: tuple[GroupScore, ...]
    """Of the types that there are."""
    unmarked: GroupScore | None
    """Without the games that can be won without the last action; None if there are none, or only
    such."""
    passes: tuple[PassScore, ...]
    """In order."""
    spread: float | None
    """Standard deviation of success from pass to pass; None for fewer than two."""
    failed: tuple[EpisodeRecord, ...]
    """Episodes that the environment failed."""
    num_restarts: int
    """Environments that were replaced."""
    differences: tuple[PairedDifference, ...] = ()
    """From another evaluation, of all games and by type."""

    @property
    def metric_prefix(self) -> str:
        """What the names of its numbers start with: ``alfworld/valid_seen@3f2a9c1b``."""
        return f"alfworld/{self.name}@{self.digest}"


def panel_name(
    split: str, *, num_games: int, num_in_split: int, task_types: Collection[str] = ()
) -> str:
    """What a panel is called: a number of a part must not be taken for the whole split's.

    Args:
        split: its name.
        num_games: that the number is of.
        num_in_split: games of the split.
        task_types: keys of ``TASK_TYPES``, if the games were chosen by them.

    Returns:
        ``valid_seen``, or ``valid_seen_12_of_140``, or ``valid_seen_pick_look_12_of_140``.
    """
    if num_games == num_in_split:
        return split
    chosen = [short for name, short in TASK_TYPES.items() if name in task_types]
    return "_".join([split, *chosen, str(num_games), "of", str(num_in_split)])


def score_panel(
    manifest: Manifest,
    games: Sequence[Game],
    records: Iterable[EpisodeRecord],
    *,
    num_passes: int,
    num_in_split: int | None = None,
    task_types: Collection[str] = (),
    earlier: Iterable[EpisodeRecord] = (),
) -> PanelScore:
    """All numbers of an evaluation.

    Args:
        manifest: of the whole split.
        games: that were to be played, some of the manifest's.
        records: of these games and passes, one for each.
        num_passes: how often each game was to be played.
        num_in_split: games that the split should have; those of the manifest if left out.
        task_types: keys of ``TASK_TYPES``, if the games were chosen by them.
        earlier: of another evaluation, which this one is compared with.

    Returns:
        The numbers.

    Raises:
        ValueError: if an episode is missing, or one is not of these games and passes.
    """
    records = sorted(records, key=lambda record: (record.pass_number, record.number))
    wanted = {(game.path, number) for game in games for number in range(1, num_passes + 1)}
    if Counter(record.key for record in records) != Counter(wanted):
        raise ValueError(f"records: {len(records)} that are not the {len(wanted)} wanted, one each")
    whole = _score(ALL, games, records)
    unmarked = [game for game in games if not game.wins_without_put]
    num_marked = len(games) - len(unmarked)
    passes = tuple(_pass_score(number, records) for number in range(1, num_passes + 1))
    by_pass = [one.success for one in passes if one.success is not None]
    return PanelScore(
        name=panel_name(
            manifest.split,
            num_games=whole.num_played_games,
            num_in_split=len(manifest.games) if num_in_split is None else num_in_split,
            task_types=task_types,
        ),
        digest=manifest.digest[:_DIGEST_LENGTH],
        whole=whole,
        by_type=tuple(
            _score(short, chosen, records)
            for task_type, short in TASK_TYPES.items()
            if (chosen := [game for game in games if game.task_type == task_type])
        ),
        unmarked=_score(f"{ALL}, without {num_marked} marked", unmarked, records)
        if num_marked and unmarked
        else None,
        passes=passes,
        spread=statistics.stdev(by_pass) if len(by_pass) > 1 else None,
        failed=tuple(record for record in records if record.failed),
        num_restarts=sum(record.restarts for record in records),
        differences=paired_differences(earlier, records),
    )


def _score(name: str, games: Sequence[Game], records: Iterable[EpisodeRecord]) -> GroupScore:
    paths = {game.path for game in games}
    own = [record for record in records if record.game in paths]
    played = [record for record in own if not record.failed]
    by_game = wins_by_game(own, lambda record: record.game)
    success = interval = None
    kind = ""
    if by_game:
        shares_G = torch.tensor(
            [statistics.mean(by_game[path]) for path in sorted(by_game)], dtype=torch.float64
        )
        success = shares_G.mean().item()
        several = any(len(wins) > 1 for wins in by_game.values())
        interval, kind = interval_of_mean(shares_G, several_tries=several)
    num_turns = sum(record.steps for record in played)

    def share(count: Callable[[EpisodeRecord], int]) -> float | None:
        return sum(map(count, played)) / num_turns if num_turns else None

    return GroupScore(
        name=name,
        num_games=len(games),
        num_played_games=len(by_game),
        num_episodes=len(played),
        num_failed=len(own) - len(played),
        success=success,
        interval=interval,
        interval_kind=kind,
        outcomes=Counter(record.outcome for record in own),
        steps=_mean([record.steps for record in played]),
        steps_won=_mean([record.steps for record in played if record.won]),
        mean_return=_mean([record.episode_return for record in played]),
        truncated=share(lambda record: record.truncated),
        malformed=share(lambda record: record.malformed),
        inadmissible=share(lambda record: record.inadmissible),
    )


def _pass_score(number: int, records: Iterable[EpisodeRecord]) -> PassScore:
    own = [record for record in records if record.pass_number == number]
    played = [record.won for record in own if not record.failed]
    return PassScore(number, len(played), len(own) - len(played), _mean(played))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
