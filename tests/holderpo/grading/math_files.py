"""Where the shared mathematics data lie during development, and the tables of answers."""

import functools
import json
from pathlib import Path

import pytest

from holderpo.grading.quick import quick_match

HERE = Path(__file__).parent
SHARED = HERE.parents[3] / "shared" / "data" / "math"
NAMES = (
    "aime24",
    "aime25",
    "amc23",
    "gsm8k_test",
    "gsm8k_train",
    "math500",
    "math_level3to5_train",
    "minerva",
    "olympiadbench",
)

# An answer of the tables is decided once for all tests.
decision_of = functools.cache(quick_match)


@functools.cache
def stored_answers(name):
    """The `answer` of each row, as published; skips where the file is absent."""
    path = SHARED / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["answer"] for line in lines]


@functools.cache
def answer_table(name):
    """Gold answers with the answers listed for each, such as of `equal`."""
    lines = (HERE / f"{name}_answers.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" || ") for line in lines if line and not line.startswith(("# ", "## "))]
    return [(row[0], row[1:]) for row in rows]
