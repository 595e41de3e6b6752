"""A Ray actor with an engine process and many episodes in it.

The actor itself imports no engine: it hands jobs on in their order of arrival, each with a limit of
time from the moment the process has it, and replaces a process that is late or dead. A second
process, at low priority, translates games that are new, so that no step waits for a translation.
What a replaced process has lost its callers restore, who know game and commands
(:mod:`recipe.holderpo.alfworld.environment_group`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import ray

from holderpo.alfworld.engine import GameError, read_game
from holderpo.alfworld.engine_process import EngineLostError, EngineProcess, EngineSettings
from holderpo.alfworld.fast.loaded_game import game_memory
from holderpo.alfworld.turns import Turn
from recipe.holderpo.alfworld.environment_counts import Counts

# Added to the niceness of the process that translates ahead.
_NICENESS = 5


class Reply(NamedTuple):
    """Of a job; what went wrong is a value, as Ray would wrap an exception."""

    turn: Turn | None
    """After a reset or step that went well."""
    lost: str = ""
    """Why the episode has to be restored: a cause of :class:`EngineLostError`."""
    message: str = ""
    """What went wrong, for people."""


class EnvironmentWorker:
    """Made an actor by :class:`~recipe.holderpo.alfworld.environment_group.EnvironmentGroup`."""

    def __init__(self, settings: EngineSettings) -> None:
        """Start the engine process; :meth:`ready` says whether it has.

        Args:
            settings: of the engine.
        """
        self._settings = settings
        self._process = EngineProcess(settings)
        self._translator = EngineProcess(settings, niceness=_NICENESS)
        # A thread each: the processes end with the thread that starts them.
        self._queue = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._translator_queue = ThreadPoolExecutor(1, thread_name_prefix="translator")
        self._translations: dict[str, asyncio.Task[None]] = {}
        self._translates_ahead = settings.fast and settings.cache is not None
        self._counts = Counts()
        context = ray.get_runtime_context() if ray.is_initialized() else None
        if context and context.get_actor_id() and context.was_current_actor_reconstructed:
            self._counts.num["brought_back"] += 1

    async def ready(self) -> str:
        """Wait until the engine process is there.

        Returns:
            Why it is not, or an empty text.
        """
        try:
            await self._run(self._process.start)
        except EngineLostError as error:
            return str(error)
        return ""

    async def ping(self) -> int:
        """This actor's process id, at once, whatever the engine is at."""
        return os.getpid()

    async def pids(self) -> list[int]:
        """Process ids of the engine processes that there are."""
        return [pid for pid in (self._process.pid, self._translator.pid) if pid is not None]

    async def reset(
        self,
        slot: str,
        game_file: Path,
        max_steps: int,
        expert_seed: int | None,
        actions: list[str],
    ) -> Reply:
        """As :meth:`EngineProcess.reset`, after the game was translated."""
        asked = time.monotonic()
        try:
            await self._translated(game_file)
        except EngineLostError as error:
            return Reply(None, lost=error.cause, message=str(error))  # It is counted already.
        except GameError as error:
            return self._failed(error)

        def reset() -> Turn:
            return self._process.reset(
                slot, game_file, max_steps=max_steps, expert_seed=expert_seed, actions=actions
            )

        return await self._do(reset, asked, "reset")

    async def step(self, slot: str, action: str) -> Reply:
        """As :meth:`EngineProcess.step`."""
        return await self._do(lambda: self._process.step(slot, action), time.monotonic(), "step")

    async def close_slot(self, slot: str) -> None:
        """As :meth:`EngineProcess.close_slot`; a process that is lost has no slot."""
        try:
            await self._run(lambda: self._process.close_slot(slot))
        except EngineLostError as error:
            self._counts.lost(error.cause)

    async def prepare(self, game_file: Path) -> None:
        """Translate a game ahead of its reset, if that helps; a failure shows at the reset."""
        try:
            await self._translated(game_file)
        except (EngineLostError, GameError):
            pass

    async def counts(self) -> Counts:
        """What happened since the last call."""
        counts, self._counts = self._counts, Counts()
        counts.resident_bytes = self._process.resident_bytes
        for process in (self._process, self._translator):
            counts.num["died"] += process.num_found_dead
            process.num_found_dead = 0
        return counts

    async def _translated(self, game_file: Path) -> None:
        """Wait until the cache has the game; games that are asked for together are done once."""
        if not self._translates_ahead:
            return
        key = str(game_file)
        task = self._translations.get(key)
        if task is None:
            task = self._translations[key] = asyncio.create_task(self._translate(game_file))
        try:
            await asyncio.shield(task)
        except Exception:
            # The next reset tries again.
            if self._translations.get(key) is task:
                del self._translations[key]
            raise

    async def _translate(self, game_file: Path) -> None:
        """Translate a game; a loss counts once, whoever waits for it."""
        try:
            await self._translate_new(game_file)
        except EngineLostError as error:
            self._counts.lost(error.cause)
            raise

    async def _translate_new(self, game_file: Path) -> None:
        if await self._is_translated(game_file):
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._translator_queue, self._translator.prepare, game_file)
        # Where nothing can be kept, there is no use in it.
        self._translates_ahead = await self._is_translated(game_file)

    async def _is_translated(self, game_file: Path) -> bool:
        def look() -> bool:
            return game_memory(self._settings.cache).has_translation(read_game(game_file))

        limit = self._settings.reset_seconds
        # A thread of its own: one that is stuck in a file system keeps no other waiting.
        reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        try:
            looking = asyncio.get_running_loop().run_in_executor(reader, look)
            return await asyncio.wait_for(looking, limit)
        except TimeoutError as error:
            message = f"reading the game took longer than {limit:g} s"
            raise EngineLostError("reset_timeout", message) from error
        finally:
            reader.shutdown(wait=False)

    async def _do(self, job: Callable[[], Turn], asked: float, kind: str) -> Reply:
        began = asked

        def timed() -> Turn:
            nonlocal began
            began = time.monotonic()
            return job()

        try:
            turn = await self._run(timed)
        except (EngineLostError, GameError) as error:
            return self._failed(error)
        self._counts.done(kind, waited=began - asked, took=time.monotonic() - began)
        return Reply(turn)

    def _failed(self, error: EngineLostError | GameError) -> Reply:
        if isinstance(error, GameError):
            return Reply(None, message=str(error))
        self._counts.lost(error.cause)
        return Reply(None, lost=error.cause, message=str(error))

    async def _run(self, job: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._queue, job)
