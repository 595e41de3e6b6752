"""Trouble in a step's metrics: said in words when it begins, and rarely after."""

import math

import pytest

from recipe.holderpo.run.console import Console
from recipe.holderpo.run.trouble import REPEAT_AFTER_STEPS, Reminder, trouble

WELL = {
    "holder/saturated_frac": 0.0,
    "holder/nonfinite_frac": 0.0,
    "actor/skipped_updates": 0.0,
    "critic/rewards/mean": 0.5,
}


@pytest.mark.parametrize("metrics", [{}, WELL])
def test_a_sound_step_has_none(metrics):
    assert trouble(metrics) == []


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("holder/saturated_frac", 0.03125, "holder/saturated_frac: 0.0312 of the responses"),
        ("holder/nonfinite_frac", 1e-4, "holder/nonfinite_frac: 0.0001 of the responses"),
        ("holder/nonfinite_frac", math.nan, "holder/nonfinite_frac: nan of the responses"),
        ("actor/skipped_updates", 2.0, "actor/skipped_updates: 2 of the step's updates"),
    ],
)
def test_each_trouble_is_one_line(name, value, line):
    (found,) = trouble({**WELL, name: value})
    assert found.startswith(line)
    assert "\n" not in found


def test_all_troubles_of_a_step_are_named():
    assert len(trouble(dict.fromkeys(WELL, 1.0))) == 3


def test_trouble_that_stays_is_said_rarely():
    reminder = Reminder()
    said = [step for step in range(1, 50) if reminder.due(step, ["a: 1 b", f"c: {step} d"])]
    assert said == [1, 1 + REPEAT_AFTER_STEPS, 1 + 2 * REPEAT_AFTER_STEPS]


def test_trouble_that_comes_and_goes_is_said_rarely_too():
    reminder = Reminder()
    said = [step for step in range(1, 50) if reminder.due(step, ["a: 1 b"] * (step % 2))]
    assert said == [1, 1 + REPEAT_AFTER_STEPS, 1 + 2 * REPEAT_AFTER_STEPS]


def test_new_trouble_is_said_at_once_beside_an_old_one():
    reminder = Reminder()
    assert reminder.due(1, ["a: 1 b"]) == ["a: 1 b"]
    assert reminder.due(2, ["a: 2 b", "c: 1 d"]) == ["c: 1 d"]


def test_the_console_says_it_below_the_steps_line():
    said = []
    console = Console.__new__(Console)
    console._bar, console._reminder, console.say = None, Reminder(), said.append
    console.step(1, WELL)
    console.step(2, {**WELL, "holder/saturated_frac": 0.5})
    console.step(3, {**WELL, "holder/saturated_frac": 0.5})
    assert [line.split("|")[0].split(":")[0].strip() for line in said] == [
        "step    1",
        "step    2",
        "warning    holder/saturated_frac",
        "step    3",
    ]
