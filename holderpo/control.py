"""The controller of p: owned by the driver, saved with every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from holderpo.schedule import Schedule


class Controller(Protocol):
    """What the trainer asks of whatever decides p."""

    def value(self, step: int) -> float:
        """The order for the round after ``step`` completed ones."""

    def state_dict(self) -> dict[str, Any]:
        """JSON-serialisable state, saved with the checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; raises ValueError if it belongs to another controller."""


class ScheduledOrder:
    """p follows a schedule of the step; nothing to remember but which schedule it was."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._identity = {"kind": type(schedule).__name__.lower(), **asdict(schedule)}

    def value(self, step: int) -> float:
        """The order for the round after ``step`` completed ones."""
        return self.schedule.value(step)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's kind and fields."""
        return dict(self._identity)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Check that the checkpoint was written under the same schedule.

        Raises:
            ValueError: if it was not: continuing would make p jump.
        """
        if dict(state) != self._identity:
            raise ValueError(
                f"p: the checkpoint was written with {dict(state)}, this run has {self._identity}; "
                "resume with the same p and trainer.total_training_steps (or p.steps set to the "
                "checkpoint's), or start anew with trainer.resume_mode=disable"
            )
