"""The game engine: one textworld environment that plays one game file after another."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from textworld.core import GameState

# What plays games, by what is imported.
_PACKAGES = ("alfworld", "textworld", "fast_downward")
# What a game file must hold, all of it text.
KEYS = ("pddl_domain", "pddl_problem", "grammar")


class GameError(Exception):
    """A game file that the engine cannot play; the message names it and the likely cause."""


class EngineThreadError(RuntimeError):
    """The engine was called from a second thread of its process."""


def missing_packages() -> str | None:
    """What games need and is not installed.

    Returns:
        The packages and what to run, in one line; none if nothing is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)}: not installed; run `make setup-alfworld`" if missing else None


def warn_of_the_stock_engine() -> bool:
    """Warn, once a process, if the fast engine does not know what is installed.

    Returns:
        Whether games run in the stock engine for it.
    """
    from holderpo.alfworld.fast.known_sources import difference

    different = difference()
    if different is None:
        return False
    _warn_once(f"engine: {different}; games run in the stock engine, ten times slower")
    return True


def default_cache_folder() -> Path | None:
    """Where translated games are kept.

    Returns:
        ``holderpo/alfworld`` in the user's cache folder (``XDG_CACHE_HOME``, or ``~/.cache``);
        ``None``, with a warning, for a user without a home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The standard asks to ignore relative paths.
        folder = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        _warn_once("cache_folder: this user has no home; set XDG_CACHE_HOME to keep translations")
        return None
    return folder / "holderpo" / "alfworld"


class Engine:
    """One environment of textworld; it loads games one after another and never grows.

    All engines of a process are called from one thread: the translator and the parsers below keep
    their state in modules.

    Attributes:
        facts: whether states hold ``facts``.
        game_file: the game that is loaded, if any.
        num_resets: how often a game was started; says whose turn it is where several share it.
    """

    def __init__(
        self,
        *,
        fast: bool = True,
        cache_folder: Path | Literal["default"] | None = "default",
        facts: bool = False,
    ) -> None:
        """Start an engine without a game.

        Args:
            fast: whether to use the speed-ups; the texts are the same, byte for byte.
            cache_folder: of the speed-ups; ``None`` keeps nothing on disk. The stock engine has no
                use for it.
            facts: whether states hold ``facts``, which the expert asks for.

        Raises:
            EngineThreadError: another thread of this process uses an engine.
            ModuleNotFoundError: what plays games is not installed.
        """
        _claim_thread()
        if missing := missing_packages():
            raise ModuleNotFoundError(missing)
        self.facts = facts
        self.game_file: Path | None = None
        self.num_resets = 0
        self._is_running = False
        with _contained():
            self._env = _environment(fast, cache_folder, facts)

    def load(self, game_file: Path) -> None:
        """Load a game; the one before is forgotten.

        Args:
            game_file: ``game.tw-pddl`` of a game.

        Raises:
            GameError: it cannot be read or played.
            EngineThreadError: called from another thread than before.
        """
        _claim_thread()
        self.game_file, self._is_running = None, False
        data = read_game(game_file)
        with _contained(), _explained(game_file):
            self._env.load(data)
        self.game_file = game_file

    def reset(self) -> GameState:
        """Start the loaded game, from its beginning.

        Returns:
            textworld's state: ``feedback``, ``won``, ``admissible_commands``, ``facts`` if asked.

        Raises:
            RuntimeError: no game is loaded.
            GameError: the game cannot be started.
            EngineThreadError: called from another thread than before.
        """
        _claim_thread()
        if self.game_file is None:
            raise RuntimeError("no game is loaded; call load() first")
        with _contained(), _explained(self.game_file):
            state = self._env.reset()
        self._is_running = True
        self.num_resets += 1
        return state

    def step(self, command: str) -> GameState:
        """Send one command; one that is not admissible changes nothing.

        Args:
            command: compared as it is, but for white space around it.

        Returns:
            textworld's state after it.

        Raises:
            RuntimeError: the game was not started.
            GameError: the game broke.
            EngineThreadError: called from another thread than before.
        """
        _claim_thread()
        if self.game_file is None or not self._is_running:
            raise RuntimeError("no game is running; call reset() first")
        with _contained(), _explained(self.game_file):
            state, _, _ = self._env.step(command)
        return state


def read_game(game_file: Path) -> dict[str, Any]:
    """A game file's content.

    Args:
        game_file: ``game.tw-pddl`` of a game.

    Returns:
        The JSON object in it; the texts that the engine plays are there.

    Raises:
        GameError: the file is missing, is no JSON, or lacks a text.
    """
    try:
        data = json.loads(Path(game_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise GameError(f"{game_file}: {error.strerror}; give a game's game.tw-pddl") from error
    except (ValueError, RecursionError) as error:
        raise GameError(f"{game_file}: no JSON ({error}); prepare the games again") from error
    if not isinstance(data, dict):
        raise GameError(f"{game_file}: {type(data).__name__}, not an object; give a game file")
    wrong = [key for key in KEYS if not isinstance(data.get(key), str)]
    if wrong:
        raise GameError(f"{game_file}: no text {', '.join(wrong)}; prepare the games again")
    return data


def _environment(fast: bool, cache_folder: Path | Literal["default"] | None, facts: bool) -> Any:
    if not fast or warn_of_the_stock_engine():
        return _stock_environment(facts)
    with _no_data_folder():
        import alfworld  # noqa: F401
    from holderpo.alfworld.fast.fast_environment import FastEnvironment

    folder = default_cache_folder() if cache_folder == "default" else cache_folder
    return FastEnvironment(facts=facts, cache_folder=folder)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _stock_environment(facts: bool) -> Any:
    """The environment as alfworld builds it: textworld's, with alfworld's names for things."""
    with _no_data_folder():
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.core import EnvInfos
    from textworld.envs.pddl.pddl import PddlEnv

    infos = EnvInfos(feedback=True, won=True, admissible_commands=True, facts=facts)
    return AlfredDemangler(PddlEnv(infos), shuffle=False)


@contextlib.contextmanager
def _no_data_folder() -> Iterator[None]:
    """Keep alfworld's import from making its data folder and setting its variable."""
    name = "ALFWORLD_DATA"
    if name in os.environ:
        yield
        return
    os.environ[name] = os.path.dirname(__file__)
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """The translator replaces the command line and the standard output; both come back."""
    arguments, output = sys.argv, sys.stdout
    try:
        yield
    finally:
        sys.argv, sys.stdout = arguments, output


@contextlib.contextmanager
def _explained(game_file: Path) -> Iterator[None]:
    """Whatever a broken game raises below becomes one line that names the file."""
    try:
        yield
    except MemoryError:
        raise
    except SystemExit as error:
        # How the translator says that the problem is malformed.
        reason = " ".join(str(error.code).split())
        raise GameError(f"{game_file}: the translator refuses it: {reason}") from error
    except Exception as error:
        raise GameError(f"{game_file}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    told = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, KeyError) and error.args == ("val1",):
        return "its goal can never hold, so it is no game (no such object, place or tool); leave it"
    if isinstance(error, KeyError):
        return f"{told}; the problem or the grammar uses a name that it does not declare"
    return f"{told}; the game is broken, or made for another version of textworld"


_owner: tuple[int, weakref.ref[threading.Thread]] | None = None


def _claim_thread() -> None:
    """Refuse a second thread; one that has ended leaves the engine to the next."""
    global _owner
    thread = threading.current_thread()
    if _owner is not None and _owner[0] == os.getpid():
        owner = _owner[1]()
        if owner is thread:
            return
        if owner is not None and owner.is_alive():
            raise EngineThreadError(
                f"engine called from thread {thread.name!r}, used by {owner.name!r} before; "
                "use one thread for all engines of a process"
            )
    _owner = (os.getpid(), weakref.ref(thread))
