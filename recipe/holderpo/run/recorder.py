"""What a run leaves behind step by step: metrics.jsonl, and a line on the screen."""

from __future__ import annotations

import json
import numbers
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from holderpo.studies.run_files import writable
from holderpo.whole_files import write_whole

OnStep = Callable[[int, Mapping[str, float]], None]


class MetricsFile:
    """One JSON object per line and step, appended to across resumes.

    Each has ``step`` and ``wall_time`` (seconds since the epoch, at the end of the step) beside the
    metrics; a value that is not finite is there as text (:data:`NOT_FINITE`). The line of step 0
    holds the validation before training.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is written yet."""
        self.path = path

    def drop_after(self, step: int) -> None:
        """Forget lines later than ``step``, which a resumed run does again, and broken ones."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _is_upto(line, step)]
        write_whole(self.path, "".join(line + "\n" for line in kept))

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            row = {"step": step, "wall_time": time.time(), **metrics}
            file.write(json.dumps(writable(row), allow_nan=False) + "\n")


def _is_upto(line: str, step: int) -> bool:
    """Whether the line is whole (a crash can cut the last one) and not later than ``step``."""
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


class RunLogger:
    """verl's logger, with every step also going to metrics.jsonl and to the console."""

    def __init__(
        self,
        tracking: Any,
        metrics_file: MetricsFile,
        on_step: OnStep,
        after_line: Callable[[int], None],
    ) -> None:
        """Wrap verl's ``Tracking``.

        Args:
            tracking: verl's logger; it gets everything unchanged.
            metrics_file: where the numbers go.
            on_step: called at the end of each step.
            after_line: called with a step as soon as its line is in the file.
        """
        self._tracking = tracking
        self._metrics_file = metrics_file
        self._on_step = on_step
        self._after_line = after_line

    def log(self, data: Mapping[str, Any], step: int, **kwargs: Any) -> None:
        """Log one step."""
        self._tracking.log(data=data, step=step, **kwargs)
        row = {
            name: float(value) for name, value in data.items() if isinstance(value, numbers.Real)
        }
        self._metrics_file.append(step, row)
        self._after_line(step)
        self._on_step(step, row)

    def finish(self, **kwargs: Any) -> None:
        """Close verl's logger."""
        self._tracking.finish(**kwargs)
