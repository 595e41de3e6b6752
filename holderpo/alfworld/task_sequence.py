"""Which game each group of a training step plays: a function of seed, step and group alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from holderpo.alfworld.games import Game


class TaskSequence:
    """The games of a training set, each once a pass, in an order of its own for each pass.

    Nothing of it is kept anywhere, so a resumed run goes on with the games it would have had, on
    any machine: the order follows from the games' content, not from paths or a file system.
    """

    def __init__(self, games: Sequence[Game], seed: int, groups_per_step: int) -> None:
        """Of a run.

        Args:
            games: of the training set, in any order.
            seed: of the sequence.
            groups_per_step: games a training step.

        Raises:
            ValueError: without games, or fewer than one group a step.
        """
        if not games:
            raise ValueError("games: none; prepare a split with python -m data_prep.alfworld")
        if groups_per_step < 1:
            raise ValueError(f"groups_per_step: {groups_per_step}; give 1 or more")
        self._games = tuple(games)
        self._seed = seed
        self._groups_per_step = groups_per_step
        self._passes: dict[int, list[Game]] = {}

    def game(self, step: int, group: int) -> Game:
        """The game of one group.

        Args:
            step: number of the training step, from 0.
            group: number within the step, from 0.

        Returns:
            The game. Within a pass none comes twice; a step across the end of one may have a game
            of both.

        Raises:
            ValueError: for a negative step, or a group that a step has not.
        """
        if step < 0 or not 0 <= group < self._groups_per_step:
            raise ValueError(
                f"step {step}, group {group}: steps count from 0, groups from 0 to "
                f"{self._groups_per_step - 1}"
            )
        number, place = divmod(step * self._groups_per_step + group, len(self._games))
        return self._order(number)[place]

    def _order(self, number: int) -> list[Game]:
        """The games in the order of a pass: by a digest, which is the same on every Python."""
        if number not in self._passes:
            # A step lies in one pass or two neighbours, if not in many tiny ones.
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = sorted(self._games, key=lambda game: self._key(number, game))
        return self._passes[number]

    def _key(self, number: int, game: Game) -> tuple[bytes, str]:
        text = f"{self._seed}/{number}/{game.sha256}"
        return hashlib.sha256(text.encode()).digest(), game.path
