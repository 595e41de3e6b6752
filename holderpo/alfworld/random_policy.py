"""A player that picks any command: the floor under every result."""

from __future__ import annotations

import random
from collections.abc import Collection


class RandomPolicy:
    """Uniform over the admissible commands but ``help``; its draws depend on nothing else."""

    def __init__(self, seed: int, game_sha256: str, pass_number: int) -> None:
        """Seed it.

        Args:
            seed: of the evaluation.
            game_sha256: of the game file.
            pass_number: which time the game is played.
        """
        # A text is hashed with SHA-512: the same draws in every process.
        self._random = random.Random(f"{seed} {game_sha256} {pass_number}")

    def choose(self, admissible: Collection[str]) -> str:
        """The next command.

        Args:
            admissible: the game's commands now, in any order.

        Returns:
            One of them.

        Raises:
            ValueError: there is none.
        """
        commands = sorted(set(admissible) - {"help"})
        if not commands:
            raise ValueError("admissible: no command; give those of the game")
        return self._random.choice(commands)
