"""What runs in an engine process: many episodes, stepped one job at a time.

Started by :mod:`holderpo.alfworld.engine_process` only.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holderpo.alfworld.engine import Engine, GameError
from holderpo.alfworld.episode import Episode
from holderpo.processes.line_program import resident_bytes, serve


class Slots:
    """The episodes of this process, each with an engine that goes back to the others after it."""

    def __init__(self, *, fast: bool, cache_folder: Path | None) -> None:
        """No episode yet.

        Args:
            fast: whether engines use the speed-ups.
            cache_folder: of the engines; None for none.
        """
        self._fast = fast
        self._cache_folder = cache_folder
        self._episodes: dict[str, tuple[Episode, Engine]] = {}
        self._idle: list[Engine] = []

    def warm_up(self) -> None:
        """Import textworld, which takes a second, before the first game waits for it."""
        self._idle.append(Engine(fast=self._fast, cache_folder=self._cache_folder))
        importlib.import_module("textworld.generator.game")

    def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do one job.

        Args:
            job: ``do`` is ``reset``, ``step``, ``close`` or ``prepare``.

        Returns:
            ``turn`` for a reset or a step; ``error`` for a broken game or a fault; ``bytes``
            always, which is the process's memory.
        """
        try:
            reply = getattr(self, f"_{job['do']}")(job)
        except GameError as error:
            reply = {"error": str(error)}
        except MemoryError:
            raise
        except Exception as error:
            # A fault in one episode ends that one, not all of the process, and says what it was.
            if "slot" in job:
                self._close(job)
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        return {**reply, "bytes": resident_bytes()}

    def _reset(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Start a game in a slot, whatever was there."""
        self._close(job)
        game_file, watched = Path(job["game_file"]), job["expert_seed"] is not None
        engine = self._take_engine(game_file, facts=watched)
        try:
            episode = Episode(
                game_file,
                max_steps=job["max_steps"],
                engine=engine,
                expert_seed=job["expert_seed"],
            )
            turn = episode.reset()
        except BaseException:
            self._idle.append(engine)
            raise
        self._episodes[job["slot"]] = episode, engine
        return {"turn": turn.to_json()}

    def _step(self, job: Mapping[str, Any]) -> dict[str, Any]:
        episode, _ = self._episodes[job["slot"]]
        return {"turn": episode.step(job["action"]).to_json()}

    def _close(self, job: Mapping[str, Any]) -> dict[str, Any]:
        episode = self._episodes.pop(job["slot"], None)
        if episode is not None:
            self._idle.append(episode[1])
        return {}

    def _prepare(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Load a game, so that the next load of it, in any process, finds its translation."""
        game_file = Path(job["game_file"])
        engine = self._take_engine(game_file, facts=False)
        try:
            engine.load(game_file)
        finally:
            self._idle.append(engine)
        return {}

    def _take_engine(self, game_file: Path, *, facts: bool) -> Engine:
        """An idle engine, best one that has the game loaded, or a new one."""
        fitting = [engine for engine in self._idle if engine.facts == facts]
        if not fitting:
            return Engine(fast=self._fast, cache_folder=self._cache_folder, facts=facts)
        chosen = next((one for one in fitting if one.game_file == game_file), fitting[0])
        self._idle.remove(chosen)
        return chosen


def main(fast: bool, cache_folder: str | None, niceness: int) -> None:
    """Serve the jobs of an engine process.

    Args:
        fast: whether engines use the speed-ups.
        cache_folder: of the engines; None for none.
        niceness: added to the process's own.
    """
    os.nice(niceness)
    slots = Slots(fast=fast, cache_folder=None if cache_folder is None else Path(cache_folder))
    serve(slots.warm_up, slots.answer)
