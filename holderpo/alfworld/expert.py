"""The expert: alfworld's handcoded policy, mended, for both kinds of game file.

It searches the room as a player does, from the engine's facts and texts. What alfworld 0.4.2
ships gets stuck or fails; here

- it is told ``move O to R`` whatever the file says, and its own is sent as the file says it: the
  policy looks for ``move`` alone, which older files do not know;
- it is told ``put ...`` of an object put down: it takes its hand for full otherwise, and never
  finds the second of two objects;
- it examines a receptacle that stands where it is already, since the engine refuses to go there:
  the policy asks for it again and again;
- it has no limit of steps: the shipped wrapper fails for good after 200;
- where it knows nothing to do, or nothing that is admissible, it looks around, then tries any
  command;
- a command that changes nothing leaves its advice as it is, so it can watch another player (one
  who holds what fits nowhere near the place it came from is told to bring it back there for ever);
- its random draws are its own.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holderpo.alfworld.engine import GameError
from holderpo.alfworld.wording import in_new_wording, in_own_wording

if TYPE_CHECKING:
    from textworld.core import GameState

_LOOK = "look"


class Expert:
    """Says what to do next in one episode; runs in the process of the engine.

    Attributes:
        num_lost: how often the policy itself knew no answer.
    """

    def __init__(self, game_file: Path, seed: int) -> None:
        """Prepare the expert for a game.

        Args:
            game_file: ``game.tw-pddl`` of the game; the task is read from ``traj_data.json``
                beside it.
            seed: of its random draws: which of several objects it takes, and what it tries where
                it is stuck.

        Raises:
            GameError: the task cannot be read.
        """
        self.num_lost = 0
        self._policy = _policy(game_file)
        self._random_state = random.Random(seed).getstate()
        self._admissible: tuple[str, ...] = ()
        self._advice = self._wanted = _LOOK

    def first(self, state: GameState) -> str:
        """What to do after a reset.

        Args:
            state: the engine's, with facts.

        Returns:
            An admissible command.
        """
        self._admissible = _commands(state)
        self._policy.observe(state["feedback"])
        return self._advice

    def next(self, state: GameState, last_command: str) -> str:
        """What to do after a command, whoever gave it.

        Args:
            state: the engine's after it, with facts.
            last_command: as it was sent.

        Returns:
            An admissible command, in the game's own wording.
        """
        last_command = last_command.strip()
        if last_command not in self._admissible:
            return self._advice
        self._admissible = _commands(state)
        is_followed = last_command == self._advice
        self._wanted = self._answer(state, self._wanted if is_followed else last_command)
        self._advice = in_own_wording(self._wanted, self._admissible)
        if self._advice not in self._admissible:
            self._advice = self._wanted.replace("go to ", "examine ", 1)
        if self._advice not in self._admissible:
            self._advice = self._wanted = _LOOK
        return self._advice

    def _answer(self, state: Mapping[str, Any], last_command: str) -> str:
        """What the policy says, in the newer wording."""
        seen = {
            "feedback": state["feedback"],
            # The policy takes the first fact that it wants; textworld keeps them in sets.
            "facts": sorted(state["facts"], key=lambda fact: (fact.name, fact.names)),
            "admissible_commands": list(map(in_new_wording, self._admissible)),
        }
        done = in_new_wording(last_command)
        if done.startswith("move "):
            done = "put " + done.removeprefix("move ")
        with self._own_draws():
            try:
                return str(self._policy.act(seen, 0, False, done))
            except (IndexError, KeyError, NameError):
                # How the policy says that it has seen no such receptacle, has nothing in hand, or
                # takes the task for done.
                self.num_lost += 1
                return str(random.choice(seen["admissible_commands"]))

    @contextlib.contextmanager
    def _own_draws(self) -> Iterator[None]:
        """The policy draws from Python's one generator: lend it our state, then give it back."""
        outside = random.getstate()
        random.setstate(self._random_state)
        try:
            yield
        finally:
            self._random_state = random.getstate()
            random.setstate(outside)


def _commands(state: GameState) -> tuple[str, ...]:
    """The admissible commands; ``help`` changes nothing and tells nothing."""
    return tuple(command for command in state["admissible_commands"] if command != "help")


def _policy(game_file: Path) -> Any:
    """The handcoded agent of alfworld for a game."""
    from alfworld.agents.expert import HandCodedTWAgent

    agent = HandCodedTWAgent(max_steps=sys.maxsize)
    try:
        agent.reset(str(game_file))
    except Exception as error:
        # A missing file, no JSON, no such key; an unknown type of task is a plain Exception.
        raise GameError(
            f"{game_file.with_name('traj_data.json')}: says no task to the expert "
            f"({type(error).__name__}: {error}); prepare the games again"
        ) from error
    return agent
