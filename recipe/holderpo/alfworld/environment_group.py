"""Episodes in the environment workers, from the side of whoever plays them.

A group is made once, by :meth:`EnvironmentGroup.start`; it can be sent to other processes, such as
agent loop workers. There is no barrier: every step is a call of its own, which waits at most for
the steps queued in its worker. An episode knows its game and its commands, so what a killed or
stuck worker has lost is played again, with the same texts.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from holderpo.alfworld.turns import Outcome, Turn
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.alfworld.environment_counts import add_up, to_metrics
from recipe.holderpo.alfworld.environment_worker import EnvironmentWorker, Reply

# Between two looks at a worker that has not answered.
_LOOK_SECONDS = 5.0
# Ray brings a dead actor back in a few seconds, on a busy machine in many.
_COMES_BACK_SECONDS = 120.0
# Many calls at a time, all but one of which wait for the engine process.
_MAX_CONCURRENCY = 1000

logger = logging.getLogger(__name__)


class EnvironmentStartError(RuntimeError):
    """Environment workers do not start."""


class EpisodeFailedError(RuntimeError):
    """An episode cannot go on, whatever the agent does.

    Attributes:
        reason: one line.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason.

        Args:
            reason: one line.
        """
        super().__init__(reason)
        self.reason = reason


class EnvironmentGroup:
    """The environment workers of a run."""

    def __init__(self, workers: list[Any], settings: EnvironmentSettings) -> None:
        """Of workers that have been started; see :meth:`start`.

        Args:
            workers: Ray handles.
            settings: of them.
        """
        self.workers = workers
        self.settings = settings
        self.counts: Counter[str] = Counter()

    @classmethod
    def start(cls, settings: EnvironmentSettings) -> EnvironmentGroup:
        """Start the workers and wait until their engines are ready.

        Args:
            settings: of the workers.

        Returns:
            The group. Ray must be initialised.

        Raises:
            ValueError: Ray has not enough CPUs.
            EnvironmentStartError: a worker does not start, or not in time.
        """
        num_workers = settings.fit(ray.available_resources().get("CPU", 0.0))
        remote = ray.remote(EnvironmentWorker)
        options = {
            "num_cpus": settings.cpus_per_worker,
            "max_restarts": -1,
            "max_concurrency": _MAX_CONCURRENCY,
            "scheduling_strategy": "SPREAD",
        }
        workers = [remote.options(**options).remote(settings.engine) for _ in range(num_workers)]
        group = cls(workers, settings)
        try:
            group._wait_until_ready()
        except BaseException:
            group.close()
            raise
        return group

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent elsewhere without its counts, which are this process's."""
        return EnvironmentGroup, (self.workers, self.settings)

    def episode(
        self,
        game_file: Path,
        key: int,
        *,
        max_steps: int = 50,
        expert_seed: int | None = None,
    ) -> GroupEpisode:
        """An episode, not yet started.

        Args:
            game_file: ``game.tw-pddl`` of the game, there on every machine with workers.
            key: chooses the worker; episodes of one GRPO group share it, so that their game is
                translated once.
            max_steps: limit of steps.
            expert_seed: lets the expert watch.

        Returns:
            The episode.
        """
        return GroupEpisode(self, game_file, key, max_steps=max_steps, expert_seed=expert_seed)

    async def prepare(self, game_file: Path, key: int) -> None:
        """Translate a game ahead of its reset, while other things go on.

        Args:
            game_file: as of :meth:`episode`.
            key: as of :meth:`episode`.
        """
        worker = self.worker_of(key)
        try:
            await self.call(worker, "prepare", game_file)
        except RayActorError:
            pass  # The reset finds out.

    def worker_of(self, key: int) -> Any:
        """The worker that a key chooses."""
        return self.workers[key % len(self.workers)]

    async def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Call a worker, and kill it if it does not answer pings meanwhile.

        Args:
            worker: of this group.
            method: of it.
            arguments: of the method.

        Returns:
            What the method returns.

        Raises:
            RayActorError: the worker died; Ray brings it back, without its episodes.
        """
        answer = asyncio.ensure_future(getattr(worker, method).remote(*arguments))
        try:
            while True:
                done, _ = await asyncio.wait([answer], timeout=_LOOK_SECONDS)
                if done:
                    return answer.result()
                await self._look_at(worker)
        finally:
            answer.cancel()

    async def metrics(self) -> dict[str, float]:
        """What happened since the last call, as ``env/...``; of restarts those of this process."""
        calls = [self.call(worker, "counts") for worker in self.workers]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        counts, self.counts = self.counts, Counter()
        return to_metrics(add_up(one for one in answers if not isinstance(one, BaseException))) | {
            "env/worker_death_count": counts["worker_death"],
            "env/episode_restart_count": counts["restart"],
            "env/episode_failed_count": counts["failed"],
        }

    def close(self) -> None:
        """End the workers and their processes."""
        for worker in self.workers:
            ray.kill(worker)
        self.workers = []

    async def _look_at(self, worker: Any) -> None:
        """Kill a worker that does not answer."""
        ping = asyncio.ensure_future(worker.ping.remote())
        done, _ = await asyncio.wait([ping], timeout=self.settings.stall_seconds)
        if done:
            ping.exception()  # A dead worker: the call itself raises it.
            return
        ping.cancel()
        logger.warning(
            "an environment worker has not answered for %g s and is replaced",
            self.settings.stall_seconds,
        )
        ray.kill(worker, no_restart=False)

    def _wait_until_ready(self) -> None:
        limit = self.settings.engine.start_seconds
        pending = [worker.ready.remote() for worker in self.workers]
        ready, late = ray.wait(pending, num_returns=len(pending), timeout=_start_limit(limit))
        if late:
            raise EnvironmentStartError(
                f"{len(late)} of {len(pending)} environment workers are not ready after "
                f"{_start_limit(limit):g} s; give fewer num_workers, or more start_seconds"
            )
        for problem in filter(None, ray.get(ready)):
            raise EnvironmentStartError(f"environment worker: {problem}")


def _start_limit(seconds: float) -> float:
    """Of an actor that starts its process twice, the second time with twice the limit."""
    return 3 * seconds


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
        if self._turn is None or self._turn.done:
            over = "not started" if self._turn is None else f"over ({self.outcome})"
            raise RuntimeError(f"episode: {over}; call reset() first")
        if self.outcome is not None:
            raise RuntimeError(f"episode: over ({self.outcome}); call reset() first")
        reply = await self._ask("step", self._slot, action)
        self._actions.append(action)
        if reply.turn is None:
            self._restart(reply)
            return self._after(await self._restored())
        return self._after(reply.turn)

    async def close(self) -> None:
        """Give the slot to others; the episode may be anywhere."""
        worker = self._group.worker_of(self._key)
        try:
            await self._group.call(worker, "close_slot", self._slot)
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
            reply: Reply = await self._group.call(worker, method, *arguments)
        except RayActorError as error:
            self._group.counts["worker_death"] += 1
            reply = Reply(None, "died", f"the environment worker died: {_first_line(error)}")
            await self._comes_back(worker)
        return reply

    async def _comes_back(self, worker: Any) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _COMES_BACK_SECONDS
        while loop.time() < deadline:
            try:
                await asyncio.wait_for(worker.ping.remote(), deadline - loop.time())
                return
            except RayActorError:
                await asyncio.sleep(0.5)
            except (TimeoutError, GetTimeoutError):
                break

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
        raise EpisodeFailedError(f"{self.game_file}: {reply.message}{again}")


def _first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)
