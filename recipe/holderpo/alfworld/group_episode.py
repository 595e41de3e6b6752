"""One episode in an environment worker, restored where its process is lost."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError

from holderpo.alfworld.turns import Outcome, Turn
from recipe.holderpo.alfworld.environment_worker import Reply

if TYPE_CHECKING:
    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup


class EpisodeFailedError(RuntimeError):
    """An episode cannot go on, whatever the agent does; the message is one line."""


class GroupEpisode:
    """One episode in a worker; used by one coroutine at a time."""

    def __init__(
        self,
        group: EnvironmentGroup,
        game_file: Path,
        key: int,
        *,
        max_steps: int,
        expert_seed: int | None,
    ) -> None:
        """As :meth:`EnvironmentGroup.episode`.

        Args:
            group: that plays it.
            game_file: of the game.
            key: chooses the worker.
            max_steps: limit of steps.
            expert_seed: lets the expert watch.
        """
        self.game_file = game_file
        self.num_restarts = 0
        self.outcome: Outcome | None = None
        self._group = group
        self._key = key
        self._max_steps = max_steps
        self._expert_seed = expert_seed
        self._num_losses = 0
        self._slot = uuid.uuid4().hex
        self._actions: list[str] = []
        self._turn: Turn | None = None
        self._is_uncertain = False

    @property
    def num_steps(self) -> int:
        """How many commands there were."""
        return len(self._actions)

    async def reset(self) -> Turn:
        """Start, or start again from the beginning.

        Returns:
            The first turn.

        Raises:
            EpisodeFailedError: the game cannot be played, or its process is lost again and again.
        """
        self._actions, self._turn, self.outcome, self._num_losses = [], None, None, 0
        self._is_uncertain = False
        return self._after(await self._restored())

    async def step(self, action: str) -> Turn:
        """Send a command.

        Args:
            action: as of :meth:`holderpo.alfworld.episode.Episode.step`.

        Returns:
            The turn after it.

        Raises:
            RuntimeError: the episode was not reset, or is over.
            EpisodeFailedError: its process is lost again and again.
        """
        if self._turn is None or self.outcome is not None:
            over = "not started" if self._turn is None else f"over ({self.outcome})"
            raise RuntimeError(f"episode: {over}; call reset() first")
        if self._is_uncertain:
            self._after(await self._restored())
        # A caller that is cancelled meanwhile does not learn whether the command was done.
        self._is_uncertain = True
        reply = await self._ask("step", self._slot, action)
        self._is_uncertain = False
        self._actions.append(action)
        if reply.turn is None:
            self._restart(reply)
            return self._after(await self._restored())
        return self._after(reply.turn)

    async def close(self) -> None:
        """Give the slot to others; the episode may be anywhere."""
        try:
            await self._group.worker_of(self._key).call("close_slot", self._slot)
        except RayActorError:
            pass  # It has lost the slot already.

    def _after(self, turn: Turn) -> Turn:
        self._turn = turn
        if turn.done:
            self.outcome = Outcome.WON if turn.won else Outcome.STEP_LIMIT
        return turn

    async def _restored(self) -> Turn:
        """Play the game from its beginning to the last command."""
        while True:
            reply = await self._ask(
                "reset",
                self._slot,
                self.game_file,
                self._max_steps,
                self._expert_seed,
                self._actions,
            )
            if reply.turn is not None:
                return reply.turn
            self._restart(reply)

    async def _ask(self, method: str, *arguments: Any) -> Reply:
        """Call the worker; its death is a reply, after it has come back."""
        worker = self._group.worker_of(self._key)
        try:
            reply: Reply = await worker.call(method, *arguments)
        except RayActorError as error:
            reply = Reply(None, "died", f"the environment worker died: {_first_line(error)}")
            await worker.comes_back()
        return reply

    def _restart(self, reply: Reply) -> None:
        """Count a restart of the episode, or raise that there have been enough.

        That another episode has had the process replaced does not count against this one.
        """
        is_own = reply.lost != "replaced"
        if reply.lost and (not is_own or self._num_losses < self._group.settings.max_restarts):
            self._num_losses += is_own
            self.num_restarts += 1
            self._group.counts["restart"] += 1
            return
        self.outcome = Outcome.FAILED
        self._group.counts["failed"] += 1
        again = f", {self._num_losses + 1} times" if self._num_losses else ""
        # A broken game is named already.
        game = f"{self.game_file}: " if reply.lost else ""
        raise EpisodeFailedError(f"{game}{reply.message}{again}")


def _first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)
