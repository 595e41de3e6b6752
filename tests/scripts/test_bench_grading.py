"""The benchmark's mix is what it says, and its table counts what went wrong."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

from holderpo.grading import Status, grade_many

# scripts/ is no package, and an installed one of that name hides it.
PATH = Path(__file__).parents[2] / "scripts" / "bench_grading.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
# Where its dataclass looks for the names in its annotations.
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)

ROWS = [
    {"problem": "How much is $3 \\cdot 6$? " * 20, "answer": "18"},
    {"problem": "Halve $3$ and write it as a fraction. " * 20, "answer": "\\frac{3}{2}"},
    {"problem": "Enter the point $(3, \\frac{\\pi}{2})$. " * 20, "answer": "(3,\\frac{\\pi}{2})"},
    {"problem": "What is the length of the diagonal? " * 20, "answer": "7\\sqrt{2}"},
]


def test_the_mix_has_the_stated_shares_and_length():
    items = script.make_mix(ROWS, 1000, True, seed=0)
    assert Counter(item.kind for item in items) == {
        "stored": 260,
        "rewritten": 250,
        "wrong": 420,
        "no_box": 60,
        "pathological": 10,
    }
    assert sum(item.is_right for item in items) == 510
    mean = sum(len(item.response) for item in items) / len(items)
    assert abs(mean - script.MEAN_CHARACTERS) < 100
    assert items == script.make_mix(ROWS, 1000, True, seed=0)
    without = script.make_mix(ROWS, 1000, False, seed=0)
    assert Counter(item.kind for item in without)["wrong"] == 430


def test_right_answers_of_the_mix_are_right_and_wrong_ones_wrong():
    items = script.make_mix(ROWS, 300, False, seed=1)
    verdicts = grade_many([(item.response, item.gold) for item in items])
    for item, verdict in zip(items, verdicts, strict=True):
        assert (verdict.score == 1) == item.is_right, item
        assert (verdict.status is Status.NO_ANSWER) == (item.kind == "no_box"), item


def test_a_row_counts_both_mistakes_and_reads_the_latencies():
    items = script.make_mix(ROWS, 100, True, seed=0)

    def all_right(items):
        return [(True, 0.001 * place) for place in range(len(items))]

    result = script.measure("ours, one by one", all_right, items, True)
    assert (result.right_to_0, result.wrong_to_1) == (0, 49)
    assert abs(result.p50_ms - 49.5) < 1
    assert result.max_seconds == 0.099
    opposite = script.measure(
        "ours, one by one", lambda items: [(False, 0.1)] * len(items), items, False
    )
    assert (opposite.right_to_0, opposite.wrong_to_1) == (51, 0)
    rows = script.to_markdown(
        [
            script.dataclasses.replace(each, method=method)
            for method in script.METHODS
            for each in (result, opposite)
        ]
    )
    assert re.search(r"\| 0 / 51 +\| 49 / 0 +\|", rows)
    tables = [table.splitlines() for table in rows.split("\n\n")]
    assert [len(table) for table in tables] == [2 + len(script.METHODS)] * len(tables)
    assert max(map(len, rows.splitlines())) <= 80
