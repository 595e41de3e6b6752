"""The mathematics grader: ``grade`` one answer, ``grade_many``, ``agrade`` in a coroutine.

The way of a response through the modules:

1. ``grader`` checks the arguments, remembers outcomes, and gives the verdict in the end.
2. ``boxes`` finds the answer in the response; ``answer_text`` gives it and the golds one spelling.
3. ``quick`` compares them exactly, in the caller. ``qualifiers`` takes clauses such as "for all x"
   off (``clauses`` reads them by ``domains``; ``claims`` compares what they say), ``structure``
   takes the rest apart, and ``words``, ``equations``, ``numbers`` and ``parts`` (lists, tuples,
   intervals, matrices) are asked.
4. ``pool`` hands what is left open to grading processes, and kills those that are stuck; ``worker``
   is such a process, with limits of time and memory.
5. ``symbolic`` compares there: as ``quick``, with math-verify for what it leaves open.
"""

from holderpo.grading.grader import Status, Verdict, agrade, grade, grade_many

__all__ = ["Status", "Verdict", "agrade", "grade", "grade_many"]
