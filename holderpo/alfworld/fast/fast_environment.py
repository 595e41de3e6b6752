"""The part of textworld's environment that an engine uses, as fast as it can be."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holderpo.alfworld.fast.fact_base import FactBase
from holderpo.alfworld.fast.loaded_game import LoadedGame, game_memory
from holderpo.alfworld.fast.planner_library import load_library
from holderpo.alfworld.fast.translation import read_atom

if TYPE_CHECKING:
    from textworld.core import GameState


class FastEnvironment:
    """Plays one game after another, as alfworld's wrapper of textworld's environment does."""

    def __init__(self, *, facts: bool, cache_folder: Path | None) -> None:
        """Load the planner.

        Args:
            facts: whether states hold ``facts``.
            cache_folder: for translated games, or ``None``.
        """
        import fast_downward

        self._facts_wanted = facts
        self._memory = game_memory(cache_folder)
        self._library = load_library()
        self._operator_type, self._atom_type = fast_downward.Operator, fast_downward.Atom
        self._game: LoadedGame | None = None
        self._facts: FactBase
        self._commands: list[str] = []
        self._operators: list[tuple[str, Any]] = []

    def load(self, data: Mapping[str, Any]) -> None:
        """Load a game.

        Args:
            data: content of its file.
        """
        self._game = self._memory.get(data, self._library)

    def reset(self) -> GameState:
        """Start the game from its beginning.

        Returns:
            Its first state.
        """
        game = self._playing
        self._library.load_sas(zlib.decompress(game.translation.sas))
        self._facts = game.first_facts()
        return self._state(game.intro(self._facts), command=None)

    def step(self, command: str) -> tuple[GameState, int, bool]:
        """Do what a command says, if it is one of the admissible ones.

        Args:
            command: white space around it is no part of it.

        Returns:
            The state, the score (1 if won), and whether the game is over, that is won.
        """
        command = command.strip()
        feedback = "Nothing happens."
        if command in self._commands:
            name, operator = self._operators[self._commands.index(command)]
            self._apply(operator)
            # textworld says the same of an action whose text cannot be written.
            try:
                feedback = self._playing.answer(name, self._facts)
            except ValueError:
                pass
        state = self._state(feedback, command)
        return state, state["score"], state["done"]

    @property
    def _playing(self) -> LoadedGame:
        assert self._game is not None
        return self._game

    def _apply(self, operator: Any) -> None:
        """Change the planner's state, and the facts with it."""
        effects = (self._atom_type * operator.nb_effect_atoms)()
        self._library.apply_operator(operator.id, effects)
        game = self._playing
        for atom in effects:
            (name, types), arguments = read_atom(atom.name, game.translation.object_types)
            # What is no longer true is a fact, too: that it is not.
            opposite = name[len("not_") :] if name.startswith("not_") else "not_" + name
            self._facts.remove((opposite, types), arguments)
            self._facts.add((name, types), arguments)
            game.changed((opposite, types))
            game.changed((name, types))

    def _state(self, feedback: str, command: str | None) -> GameState:
        from textworld.core import GameState

        self._list_commands()
        won = bool(self._library.check_goal())
        state = GameState(
            feedback=feedback,
            raw=feedback,
            won=won,
            lost=False,
            admissible_commands=sorted(set(self._commands)),
        )
        if command is not None:
            state.update(last_command=command, score=int(won), done=won)
        if self._facts_wanted:
            state["facts"] = self._playing.propositions(self._facts)
        return state

    def _list_commands(self) -> None:
        """The commands that do something now, in the planner's order."""
        operators = (self._operator_type * self._library.get_applicable_operators_count())()
        self._library.get_applicable_operators(operators)
        first: dict[str, Any] = {}
        for operator in operators:
            first.setdefault(operator.name, operator)
        self._operators = list(first.items())
        game, facts = self._playing, self._facts
        self._commands = [game.command(name, facts) for name in first]
