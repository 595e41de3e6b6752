"""Which episodes an evaluation on ALFWorld wants, and their seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from holderpo.alfworld.episode_records import EpisodeKey
from holderpo.alfworld.games import Game


class NumberedGame(NamedTuple):
    """A game and its place."""

    number: int
    """Among all games of the split, from 1."""
    game: Game


class WantedEpisode(NamedTuple):
    """One episode."""

    number: int
    """Place of the game among all of its split, from 1."""
    game: Game
    pass_number: int
    """Which time it is played, from 1."""

    @property
    def key(self) -> EpisodeKey:
        """Which episode it is."""
        return EpisodeKey(self.game.path, self.pass_number)

    def seed(self, seed: int, turn: int = 0) -> int:
        """Seed of a turn, or of the whole episode; unlike that of any other.

        Args:
            seed: of the evaluation.
            turn: its number, from 1; 0 is the episode.

        Returns:
            32 bits, that depend on these, the game's content and the pass alone.
        """
        text = f"{seed}/{self.game.sha256}/{self.pass_number}/{turn}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def wanted_episodes(games: Sequence[NumberedGame], num_passes: int) -> Iterator[WantedEpisode]:
    """All episodes, each game once in every pass.

    Args:
        games: of the panel.
        num_passes: how often each is played.

    Yields:
        The episodes, those of the first pass first.
    """
    for pass_number in range(1, num_passes + 1):
        for number, game in games:
            yield WantedEpisode(number, game, pass_number)
