"""How long each phase of a start took: ``startup.json`` in the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PHASES_FILE = "startup.json"
FIRST_UPDATE = "first update done"
# What the seconds of the phases count from.
LAUNCHED = "launched, seconds since the epoch"


class Phases:
    """When each phase of the start ended, in seconds since this process began."""

    def __init__(self, path: Path, on_phase: Callable[[str, float], None]) -> None:
        """Begin with the configuration checked.

        Args:
            path: of the file that keeps them.
            on_phase: called with the name of each phase that ends, and the seconds until then.
        """
        self._path = path
        self._on_phase = on_phase
        self._began = psutil.Process().create_time()
        self._seconds: dict[str, float] = {}
        self.mark("configuration checked")

    def mark(self, phase: str) -> None:
        """Note the end of a phase, on disk at once."""
        self._seconds[phase] = time.time() - self._began
        started = {LAUNCHED: self._began, **self._seconds}
        self._path.write_text(json.dumps(started, indent=2) + "\n")
        self._on_phase(phase, self._seconds[phase])
