"""Play a generated game's own commands, to know that it can be won."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from holderpo.alfworld.engine import Engine, GameError

Play = Callable[[Path, Sequence[str]], str | None]
"""Plays commands in a game; says why they do not win it at the last one, if they do not."""


def engine_player() -> Play:
    """Verify games by playing them.

    Returns:
        A function that plays, one game after another in one engine.
    """
    # Nothing is written outside the set's folder.
    engine = Engine(cache_folder=None)

    def play(game_file: Path, commands: Sequence[str]) -> str | None:
        try:
            engine.load(game_file)
            state = engine.reset()
            for command in commands:
                if state["won"]:
                    return "won too early"
                if command not in state["admissible_commands"]:
                    return "a command was not admissible"
                state = engine.step(command)
        except GameError:
            return "the engine cannot play it"
        return None if state["won"] else "not won by its commands"

    return play
