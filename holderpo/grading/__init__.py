"""The mathematics grader: ``grade`` one answer, ``grade_many``, ``agrade`` in a coroutine."""

from holderpo.grading.grader import agrade, grade, grade_many
from holderpo.grading.verdict import Status, Verdict

__all__ = ["Status", "Verdict", "agrade", "grade", "grade_many"]
