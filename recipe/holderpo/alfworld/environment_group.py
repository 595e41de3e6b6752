"""Episodes in the environment workers, from the side of whoever plays them.

A group is made once, by :meth:`EnvironmentGroup.start`; it can be sent to other processes, such as
agent loop workers. There is no barrier: every step is a call of its own, which waits at most for
the steps queued in its worker. An episode knows its game and its commands, so what a killed or
stuck worker has lost is played again, with the same texts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import ray
from ray.exceptions import RayActorError

from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.alfworld.environment_counts import add_up, to_metrics
from recipe.holderpo.alfworld.environment_worker import EnvironmentWorker
from recipe.holderpo.alfworld.group_episode import GroupEpisode

# Between two looks at a worker that has not answered.
_LOOK_SECONDS = 5.0
# Ray brings a dead actor back in a few seconds, on a busy machine in many.
_COMES_BACK_SECONDS = 120.0
_PAUSE_SECONDS = 0.5
# More calls at a time than there ever are, all but one of which wait for the engine process: a ping
# that had to wait behind them would go unanswered.
_MAX_CONCURRENCY = 1_000_000

# Of a worker, before its number.
_NAME = "holderpo_environment_"

logger = logging.getLogger(__name__)


class EnvironmentStartError(RuntimeError):
    """Environment workers do not start."""


class _Worker:
    """One worker, as this process knows it."""

    def __init__(self, handle: Any, stall_seconds: float) -> None:
        self.handle = handle
        self._stall_seconds = stall_seconds
        self._looking: asyncio.Task[None] | None = None

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method, and kill the worker if it does not answer pings meanwhile.

        Args:
            method: of the worker.
            arguments: of the method.

        Returns:
            What the method returns.

        Raises:
            RayActorError: the worker died; Ray brings it back, without its episodes.
        """
        answer = asyncio.ensure_future(getattr(self.handle, method).remote(*arguments))
        try:
            while True:
                done, _ = await asyncio.wait([answer], timeout=_LOOK_SECONDS)
                if done:
                    return answer.result()
                if self._looking is None or self._looking.done():
                    self._looking = asyncio.create_task(self._look())
                await asyncio.wait([answer, self._looking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()

    async def comes_back(self) -> None:
        """Wait until Ray has brought the worker back."""
        deadline = time.monotonic() + _COMES_BACK_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self.handle.ping.remote(), left)
            except RayActorError:
                await asyncio.sleep(_PAUSE_SECONDS)
            except TimeoutError:
                return
            else:
                return

    async def _look(self) -> None:
        """Kill the worker if it does not answer."""
        ping = asyncio.ensure_future(self.handle.ping.remote())
        done, _ = await asyncio.wait([ping], timeout=self._stall_seconds)
        if done:
            ping.exception()  # Of a dead worker the call itself fails.
            return
        ping.cancel()
        logger.warning(
            "an environment worker has not answered for %g s and is replaced", self._stall_seconds
        )
        ray.kill(self.handle, no_restart=False)


# Agent loops make a group for each episode, all in one event loop; their episodes look after a
# worker together.
_known: WeakValueDictionary[str, _Worker] = WeakValueDictionary()


def _known_worker(handle: Any, stall_seconds: float) -> _Worker:
    """The worker of an actor, of which a process has one."""
    return _known.setdefault(handle._actor_id.hex(), _Worker(handle, stall_seconds))


class EnvironmentGroup:
    """The environment workers of a run."""

    def __init__(self, handles: list[Any], settings: EnvironmentSettings) -> None:
        """Of workers that have been started; see :meth:`start`.

        Args:
            handles: of Ray.
            settings: of the workers.
        """
        self.workers = [_known_worker(handle, settings.stall_seconds) for handle in handles]
        self.settings = settings
        self.counts: Counter[str] = Counter()

    @classmethod
    def start(cls, settings: EnvironmentSettings, *, named: bool = False) -> EnvironmentGroup:
        """Start the workers and wait until their engines are ready.

        Args:
            settings: of the workers.
            named: whether other processes of the job find them with :meth:`of_this_job`; one group
                of a job can be found so.

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
        handles = [
            remote.options(**options, name=f"{_NAME}{number}" if named else None).remote(
                settings.engine
            )
            for number in range(num_workers)
        ]
        group = cls(handles, settings)
        try:
            group._wait_until_ready()
        except BaseException:
            group.close()
            raise
        return group

    @classmethod
    def of_this_job(cls, settings: EnvironmentSettings) -> EnvironmentGroup:
        """The group that was started with a name, in any process of the job.

        Args:
            settings: with which it was started.

        Returns:
            The same workers, with counts of their own.

        Raises:
            ValueError: there is none.
        """
        handles: list[Any] = []
        while True:
            try:
                handles.append(ray.get_actor(f"{_NAME}{len(handles)}"))
            except ValueError:
                break
        if not handles:
            raise ValueError("environment workers: none are running; start them before rollouts")
        return cls(handles, settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent elsewhere without its counts, which are this process's."""
        return EnvironmentGroup, ([worker.handle for worker in self.workers], self.settings)

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
        try:
            await self.worker_of(key).call("prepare", game_file)
        except RayActorError:
            pass  # The reset finds out.

    def prepare_soon(self, game_file: Path, key: int) -> None:
        """As :meth:`prepare`, without waiting; for callers without an event loop.

        Args:
            game_file: as of :meth:`episode`.
            key: as of :meth:`episode`.
        """
        self.worker_of(key).handle.prepare.remote(game_file)

    def worker_of(self, key: int) -> _Worker:
        """The worker that a key chooses."""
        return self.workers[key % len(self.workers)]

    async def metrics(self) -> dict[str, float]:
        """What happened since the last call, as ``env/...``; of restarts those of this process."""
        calls = [worker.call("counts") for worker in self.workers]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        counts, self.counts = self.counts, Counter()
        return to_metrics(add_up(one for one in answers if not isinstance(one, BaseException))) | {
            "env/episode_restart_count": counts["restart"],
            "env/episode_failed_count": counts["failed"],
        }

    def close(self) -> None:
        """End the workers and their processes."""
        for worker in self.workers:
            ray.kill(worker.handle)
        self.workers = []

    def _wait_until_ready(self) -> None:
        # An actor starts its process twice, the second time with twice the limit.
        limit = 3 * self.settings.engine.start_seconds
        pending = [worker.handle.ready.remote() for worker in self.workers]
        ready, late = ray.wait(pending, num_returns=len(pending), timeout=limit)
        if late:
            raise EnvironmentStartError(
                f"{len(late)} of {len(pending)} environment workers are not ready after "
                f"{limit:g} s; give fewer num_workers, or more start_seconds"
            )
        try:
            problems = ray.get(ready)
        except RayActorError as error:
            raise EnvironmentStartError(f"an environment worker died: {error}") from error
        for problem in filter(None, problems):
            raise EnvironmentStartError(f"environment worker: {problem}")
