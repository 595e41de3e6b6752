"""One engine process from its parent's side: jobs with limits of time, and what their end means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holderpo.alfworld.engine import (
    GameError,
    default_cache_folder,
    missing_packages,
    warn_of_the_stock_engine,
)
from holderpo.alfworld.turns import Turn
from holderpo.number_kinds import is_number
from holderpo.processes.line_process import LineProcess, ProcessStartError

# What a process runs, before it calls ``main`` with its settings.
PROGRAM = "from holderpo.alfworld.engine_program import main"
# Of a limit; more than a day, and less than a socket takes.
_MOST_SECONDS = 100_000
_LIMITS = ("step_seconds", "reset_seconds", "start_seconds")
# Closing a slot is no work.
_CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class EngineSettings:
    """How games are run in a process."""

    step_seconds: float = 20.0
    """Limit of a step. Official games take up to 0.4 s; the planner, if asked, minutes."""
    reset_seconds: float = 60.0
    """Limit of a reset with its translation, which takes official games up to 4 s."""
    start_seconds: float = 60.0
    """In which a process must be ready the first time; it takes 2 to 5 s."""
    fast: bool = True
    """Whether the engine's speed-ups are used; texts are the same, byte for byte."""
    cache_folder: str | None = "default"
    """Of translated games and the planner's library: ``default``, a folder, or None for none."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: naming each wrong field with its fix, one line each.
        """
        limits = {name: getattr(self, name) for name in _LIMITS}
        problems = [
            f"{name}: {value!r}; give seconds above 0, at most {_MOST_SECONDS}"
            for name, value in limits.items()
            if not is_number(value) or not 0 < value <= _MOST_SECONDS
        ]
        if not isinstance(self.fast, bool):
            problems.append(f"fast: {self.fast!r}; give true or false")
        if self.cache_folder is not None and not isinstance(self.cache_folder, str):
            problems.append(f"cache_folder: {self.cache_folder!r}; give default, a folder, or null")
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def cache(self) -> Path | None:
        """The folder itself."""
        if self.cache_folder == "default":
            return default_cache_folder()
        return None if self.cache_folder is None else Path(self.cache_folder)


class EngineLostError(RuntimeError):
    """The process has lost its episodes: killed for being late, dead, or not started.

    Attributes:
        cause: ``step_timeout``, ``reset_timeout``, ``died``, ``replaced`` (since the episode's last
            step) or ``not_started``.
    """

    def __init__(self, cause: str, message: str) -> None:
        """Keep the cause.

        Args:
            cause: one of the above.
            message: for people.
        """
        super().__init__(message)
        self.cause = cause


class EngineProcess:
    """A process with many episodes, each in a slot; used by one thread.

    After an :class:`EngineLostError` all its slots are gone; the next reset starts another process.

    Attributes:
        resident_bytes: memory of the process after its last job.
        num_found_dead: processes that ended between jobs, which no error tells of.
    """

    def __init__(
        self, settings: EngineSettings, *, niceness: int = 0, program: str = PROGRAM
    ) -> None:
        """No process yet.

        Args:
            settings: of the engine.
            niceness: of the process, added to this one's.
            program: Python source that imports ``main``, as :data:`PROGRAM`.
        """
        self._settings = settings
        # What the process itself says is heard by nobody.
        if settings.fast and not missing_packages():
            warn_of_the_stock_engine()
        cache = None if settings.cache is None else str(settings.cache)
        self._process = LineProcess(
            f"{program}\nmain({settings.fast}, {cache!r}, {niceness})",
            name="engine process",
            start_seconds=settings.start_seconds,
        )
        self._slots: set[str] = set()
        self.resident_bytes = 0
        self.num_found_dead = 0

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid

    def start(self) -> None:
        """Start the process, unless it is there.

        Raises:
            EngineLostError: if it does not start.
        """
        if self._process.is_running:
            return
        self._slots.clear()
        self.num_found_dead += self._process.pid is not None  # One that was killed has no number.
        try:
            self._process.start()
        except ProcessStartError as error:
            raise EngineLostError("not_started", str(error)) from error

    def reset(
        self,
        slot: str,
        game_file: Path,
        *,
        max_steps: int,
        expert_seed: int | None = None,
        actions: Sequence[str] = (),
    ) -> Turn:
        """Start a game in a slot, and do again what was done in it before.

        Args:
            slot: any name; what was in it is forgotten.
            game_file: ``game.tw-pddl`` of the game.
            max_steps: of the episode.
            expert_seed: lets the expert watch.
            actions: commands to do again, in order.

        Returns:
            The turn after the last of them.

        Raises:
            GameError: the game cannot be played.
            EngineLostError: the process is lost.
        """
        self.start()
        # It is gone even if the game is broken.
        self._slots.discard(slot)
        job = {
            "do": "reset",
            "slot": slot,
            "game_file": str(game_file),
            "max_steps": max_steps,
            "expert_seed": expert_seed,
        }
        turn = Turn.from_json(self._ask(job, self._settings.reset_seconds, "reset_timeout")["turn"])
        self._slots.add(slot)
        # One by one, each with its own limit: should one of them hang, the others wait no longer.
        for action in actions:
            turn = self.step(slot, action)
        return turn

    def step(self, slot: str, action: str) -> Turn:
        """Send a command to the episode in a slot.

        Args:
            slot: that was reset.
            action: the command.

        Returns:
            The turn after it.

        Raises:
            GameError: the game broke.
            EngineLostError: the process is lost, or was since the slot's reset.
        """
        if slot not in self._slots:
            raise EngineLostError("replaced", "the engine process was replaced")
        job = {"do": "step", "slot": slot, "action": action}
        turn = self._ask(job, self._settings.step_seconds, "step_timeout")["turn"]
        return Turn.from_json(turn)

    def close_slot(self, slot: str) -> None:
        """Give a slot's engine back, if there is one.

        Args:
            slot: that may have been reset.

        Raises:
            EngineLostError: the process is lost.
        """
        if slot in self._slots:
            self._slots.remove(slot)
            self._ask({"do": "close", "slot": slot}, _CLOSE_SECONDS, "step_timeout")

    def prepare(self, game_file: Path) -> None:
        """Translate a game into the cache on disk, where other processes find it.

        Args:
            game_file: ``game.tw-pddl`` of the game.

        Raises:
            GameError: the game cannot be played.
            EngineLostError: the process is lost.
        """
        self.start()
        job = {"do": "prepare", "game_file": str(game_file)}
        self._ask(job, self._settings.reset_seconds, "reset_timeout")

    def kill(self) -> None:
        """End the process and its episodes; the next reset starts another."""
        self._slots.clear()
        self._process.kill()

    def _ask(self, job: dict[str, Any], limit_seconds: float, late: str) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self._process.exchange(job, limit_seconds)
        except TimeoutError as error:
            self.kill()
            message = f"a {job['do']} took longer than {limit_seconds:g} s"
            raise EngineLostError(late, message) from error
        except (OSError, EOFError, ValueError) as error:
            self.kill()
            message = f"the engine process ended in a {job['do']}: {error!r}"
            raise EngineLostError("died", message) from error
        except BaseException:
            # Half an exchange would be answered by the next one.
            self.kill()
            raise
        self.resident_bytes = reply["bytes"]
        if "error" in reply:
            raise GameError(reply["error"])
        return reply
