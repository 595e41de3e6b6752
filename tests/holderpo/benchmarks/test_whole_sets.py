"""A part of a benchmark is not called by its name."""

import pytest

from holderpo.benchmarks.whole_sets import metric_name, metric_names, title


@pytest.mark.parametrize(
    ("name", "number", "in_metrics", "in_tables"),
    [
        ("math500", 500, "math500", "math500"),
        ("math500", 4, "math500_4_of_500", "math500 (4 of 500)"),
        ("aime24", 60, "aime24_60_of_30", "aime24 (60 of 30)"),
        ("mine", 4, "mine", "mine"),
    ],
)
def test_names_of_whole_sets_and_parts(name, number, in_metrics, in_tables):
    assert metric_name(name, number) == in_metrics
    assert title(name, number) == in_tables


def test_a_problem_counts_once_however_often_it_is_answered():
    whole = [("aime24", str(number)) for number in range(30)] * 3
    part = [("aime25", str(number)) for number in range(29)]
    assert metric_names([*whole, *part, ("mine", "0")]) == {
        "aime24": "aime24",
        "aime25": "aime25_29_of_30",
        "mine": "mine",
    }
