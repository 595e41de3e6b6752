"""What a run is doing, and whether it gets on."""

from __future__ import annotations

from collections.abc import Callable


class Progress:
    """Written by the trainer, read by the watch: plain attributes, so that no lock is needed."""

    def __init__(self) -> None:
        """Before the first step."""
        self.step: int | None = None
        """verl's number of the step; None before the first."""
        self.waiting_for = "Ray"
        """What the driver waits for, as the end of "while waiting for ..."."""
        self.is_limited = True
        """False for what may take any time."""
        self.count: Callable[[], int] = int
        """How much of what is waited for is there; any change is progress."""

    def now(self, waiting_for: str, *, is_limited: bool = True) -> None:
        """The driver waits for something else.

        Args:
            waiting_for: as the end of "while waiting for ...".
            is_limited: whether it is stuck if nothing changes for long.
        """
        self.waiting_for, self.is_limited = waiting_for, is_limited

    def mark(self) -> tuple[int | None, str, int]:
        """Something that changes whenever the run gets on."""
        return self.step, self.waiting_for, self.count()

    def where(self) -> str:
        """Step and occupation, for a message."""
        step = "the start" if self.step is None else f"step {self.step}"
        return f"{step}, while waiting for {self.waiting_for}"
