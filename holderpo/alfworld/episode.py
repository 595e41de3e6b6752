"""One episode of one game as one object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holderpo.alfworld.engine import Engine
from holderpo.alfworld.turns import Outcome, Turn

if TYPE_CHECKING:
    from textworld.core import GameState

    from holderpo.alfworld.expert import Expert


class Episode:
    """A game from its reset to a win or to its limit of steps.

    Success is the goal alone: ``outcome`` is ``WON`` if it held, also after the last step allowed,
    and ``STEP_LIMIT`` otherwise. Commands that change nothing are steps like all others.
    """

    def __init__(
        self,
        game_file: Path,
        *,
        max_steps: int = 50,
        engine: Engine | None = None,
        expert_seed: int | None = None,
    ) -> None:
        """Prepare an episode; the game is loaded by ``reset``.

        Args:
            game_file: ``game.tw-pddl`` of the game.
            max_steps: limit of steps, at least 1.
            engine: to play in; it may serve one episode after another, and only the one that was
                reset last can go on. One of its own if none is given.
            expert_seed: lets the expert watch, so that turns say what it would do; of the random
                commands that it gives where it is stuck. The engine must keep facts.

        Raises:
            ValueError: ``max_steps`` is below 1, or the engine keeps no facts for the expert.
        """
        if max_steps < 1:
            raise ValueError(f"max_steps: {max_steps}; give at least 1")
        if engine is None:
            engine = Engine(facts=expert_seed is not None)
        elif expert_seed is not None and not engine.facts:
            raise ValueError("engine: keeps no facts for the expert; give Engine(facts=True)")
        self.game_file = game_file
        self.max_steps = max_steps
        self._engine = engine
        self._expert_seed = expert_seed
        self._expert: Expert | None = None
        self._turn: Turn | None = None
        self._actions: list[str] = []
        self._reset_number = 0

    @property
    def actions(self) -> tuple[str, ...]:
        """The commands so far, as they were given."""
        return tuple(self._actions)

    @property
    def num_steps(self) -> int:
        """How many commands there were."""
        return len(self._actions)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; none before."""
        if self._turn is None or not self._turn.done:
            return None
        return Outcome.WON if self._turn.won else Outcome.STEP_LIMIT

    def reset(self) -> Turn:
        """Start, or start again from the beginning.

        Returns:
            The first turn: the room and the task. A game whose goal holds already is won and done.

        Raises:
            GameError: the game cannot be played.
        """
        self._turn, self._actions = None, []
        if self._engine.game_file != self.game_file:
            self._engine.load(self.game_file)
        state = self._engine.reset()
        self._reset_number = self._engine.num_resets
        if self._expert_seed is not None:
            from holderpo.alfworld.expert import Expert

            self._expert = Expert(self.game_file, self._expert_seed)
        return self._next_turn(state, None)

    def step(self, action: str) -> Turn:
        """Send a command.

        Args:
            action: compared with the admissible ones as it is, but for white space around it.

        Returns:
            The turn after it.

        Raises:
            RuntimeError: the episode was not reset, is over, or its engine plays another one.
            GameError: the game broke.
        """
        if self._turn is None:
            raise RuntimeError("episode: not started; call reset() first")
        if self._turn.done:
            raise RuntimeError(f"episode: over ({self.outcome}); call reset() to play it again")
        if self._engine.num_resets != self._reset_number:
            raise RuntimeError("episode: its engine plays another one by now; call reset()")
        state = self._engine.step(action)
        self._actions.append(action)
        return self._next_turn(state, action)

    def _next_turn(self, state: GameState, action: str | None) -> Turn:
        won = bool(state["won"])
        done = won or self.num_steps >= self.max_steps
        expert_action = None
        if self._expert is not None and not done:
            asked = self._expert
            expert_action = asked.first(state) if action is None else asked.next(state, action)
        self._turn = Turn(
            observation=state["feedback"],
            admissible=tuple(state["admissible_commands"]),
            won=won,
            done=done,
            expert_action=expert_action,
        )
        return self._turn
