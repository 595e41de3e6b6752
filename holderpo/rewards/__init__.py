"""Rewards: functions of one response, usable as verl custom rewards; the mathematics grader."""

from holderpo.rewards.grading import agrade, grade, grade_many
from holderpo.rewards.verdict import Status, Verdict

__all__ = ["Status", "Verdict", "agrade", "grade", "grade_many"]
