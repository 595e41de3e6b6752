"""Which sets are evaluated, how, and when they are a panel of the paper."""

import math
from dataclasses import replace

import pytest

from holderpo.benchmarks.panels import (
    GREEDY,
    PANELS,
    SETS,
    Sampling,
    departures,
    parse_change,
    plan_sets,
)


def test_the_panels_are_those_of_the_tables():
    assert PANELS["table2"].sets == ("aime24", "amc", "math500", "minerva", "olympiadbench")
    assert all(
        (entry.sampling, entry.metric) == (GREEDY, "pass@1") for entry in PANELS["table2"].entries
    )
    assert PANELS["table6_7"].sets == ("math500", "aime25", "amc23", "minerva", "olympiadbench")
    by_name = {entry.name: entry for entry in PANELS["table6_7"].entries}
    aime25 = by_name.pop("aime25")
    assert aime25.metric == "pass@8"
    assert (aime25.sampling.temperature, aime25.sampling.samples) == (0.7, 8)
    assert all((entry.sampling, entry.metric) == (GREEDY, "pass@1") for entry in by_name.values())
    # The two AMC sets are not to be mixed up.
    assert (SETS["amc"], SETS["amc23"]) == (83, 40)


@pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))
def test_every_panel_averages_numbers_that_its_sampling_has(panel):
    for entry in panel.entries:
        assert entry.name in SETS
        assert entry.metric in entry.sampling.metrics


def test_sets_of_several_panels_are_planned_once_and_further_sets_are_greedy():
    planned, problems = plan_sets(["table2", "table6_7"], ["gsm8k", "math500"], [], None)
    assert not problems
    assert list(planned) == [*PANELS["table2"].sets, "aime25", "amc23", "gsm8k"]
    assert planned["gsm8k"] == GREEDY
    assert planned["aime25"].samples == 8


def test_changes_are_applied_in_order_and_the_limit_of_tokens_first():
    changes = [
        ("all", {"max_tokens": 100}),
        ("aime24", {"temperature": 0.6, "samples": 32, "k": (1, 8), "top_p": 0.95}),
        ("math500", {"max_tokens": 200}),
    ]
    planned, problems = plan_sets(["table2"], [], changes, 4096)
    assert not problems
    assert planned["aime24"] == Sampling(0.6, 0.95, 32, (1, 8), 100)
    assert planned["math500"].max_tokens == 200
    assert plan_sets(["table2"], [], [], 4096)[0]["amc"].max_tokens == 4096


def test_everything_wrong_is_named():
    changes = [("aime24", {"temperature": 1.0}), ("math500", {"samples": 4})]
    _, problems = plan_sets(["table3"], ["math500", "math_500"], changes, None)
    assert len(problems) == 4
    for words in (
        "'table3' is unknown; known are table2, table6_7",
        "'math_500' is unknown; known are aime24, aime25, amc, amc23, gsm8k, math500",
        "math500: samples: 4 at temperature 0",
        "'aime24' is not evaluated here",
    ):
        assert any(words in problem for problem in problems), words
    assert "nothing to evaluate" in plan_sets([], [], [], None)[1][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": 0.0, "samples": 1, "top_p": 0.9}, "top_p: 0.9 has no effect"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"samples": 0}, "samples"),
        ({"k": (5,)}, "k: 5 of 4"),
        ({"k": (2, 2)}, "give each once"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_samplings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(Sampling(temperature=1.0, samples=4), **change)


def test_changes_are_read_from_words():
    words = ["aime24", "temperature=0.6", "samples=16", "k=1,8", "max_tokens=99", "top_p=0.9"]
    assert parse_change(words) == (
        "aime24",
        {"temperature": 0.6, "samples": 16, "k": (1, 8), "max_tokens": 99, "top_p": 0.9},
    )
    for wrong in ("tmperature=1", "samples=many", "k=", "samples"):
        with pytest.raises(ValueError, match=f"--sampling aime24: '{wrong}'"):
            parse_change(["aime24", wrong])
    with pytest.raises(ValueError, match="no setting"):
        parse_change(["aime24"])


def test_a_panel_needs_its_sets_sampled_as_it_says():
    panel = PANELS["table6_7"]
    planned, _ = plan_sets(["table6_7"], [], [], 64)
    assert departures(panel, planned) == []
    # More answers give the same number, better known.
    more = planned | {"aime25": replace(planned["aime25"], samples=64)}
    assert departures(panel, more) == []
    for other in (
        replace(planned["aime25"], temperature=0.6),
        replace(planned["aime25"], top_p=0.9),
        replace(planned["aime25"], k=(4,)),
    ):
        assert departures(panel, planned | {"aime25": other}) == ["aime25 is sampled otherwise"]
    del planned["amc23"]
    assert departures(panel, planned) == ["amc23 is missing"]


def test_metrics_are_named_by_how_answers_are_drawn():
    assert GREEDY.metrics == ("pass@1",)
    assert Sampling(0.7, samples=8, k=(1, 8)).metrics == ("avg@8", "pass@1", "pass@8")
    assert str(GREEDY) == "greedy, 3000 tokens"
