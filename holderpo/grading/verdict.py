"""What the grader says of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Why an answer has its score."""

    CORRECT = "correct"
    """Equal to a gold answer."""
    WRONG = "wrong"
    """Understood, and equal to none."""
    NO_ANSWER = "no_answer"
    """Nothing in a box or in answer tags, or nothing inside them."""
    UNPARSEABLE = "unparseable"
    """An answer was given that cannot be read as mathematics and is not the gold's text either."""
    TIMEOUT = "timeout"
    """Grading took longer or more memory than allowed; its process was ended."""
    ERROR = "error"
    """The grader failed; the answer may be right."""


@dataclass(frozen=True)
class Verdict:
    """Score of one answer and its reason."""

    score: float
    """1 if correct, else 0."""
    answer: str | None
    """What was graded: the answer extracted from the response; none if there was none."""
    status: Status
    """The reason."""
