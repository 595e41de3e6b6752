"""p as a function of the step, and the controller that owns it."""

import json

import pytest

from holderpo.control import ScheduledOrder
from holderpo.schedule import Constant, Linear, build_schedule

LINEAR = {"kind": "linear", "start": 2.0, "end": -2.0, "steps": "whole_run"}


@pytest.mark.parametrize("num_rounds", [2, 3, 7, 60, 500])
def test_whole_run_has_start_in_the_first_round_and_end_in_the_last(num_rounds):
    schedule = build_schedule(LINEAR, num_rounds=num_rounds)
    values = [schedule.value(step) for step in range(num_rounds)]
    assert values[0] == 2.0
    assert values[-1] == -2.0
    assert values == sorted(values, reverse=True)
    assert all(value > -2.0 for value in values[:-1])


def test_linear_is_the_papers_formula_and_keeps_its_end():
    schedule = Linear(start=2.0, end=-2.0, steps=500)
    for step in range(0, 700, 7):
        assert schedule.value(step) == pytest.approx(2 - 4 * min(1, step / 500), abs=1e-12)
    assert schedule.value(500) == schedule.value(10_000) == -2.0
    assert schedule.value(499) > -2.0


def test_a_run_of_one_round_has_the_end_value():
    assert build_schedule(LINEAR, num_rounds=1).value(0) == -2.0


def test_constant():
    assert build_schedule({"kind": "constant", "value": 0}, num_rounds=5) == Constant(0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "liner"}, r"p\.kind: 'liner'.*constant.*linear"),
        ({**LINEAR, "steps": 0}, r"p\.steps: 0"),
        ({**LINEAR, "steps": "all"}, r"p\.steps: 'all'.*whole_run"),
        ({**LINEAR, "start": float("inf")}, r"p\.start: inf"),
        ({**LINEAR, "value": 1.0}, r"p\.value: not a field"),
        ({"kind": "constant"}, r"p\.value: missing"),
        ({"kind": "constant", "value": "2"}, r"p\.value: '2'"),
    ],
)
def test_bad_settings_name_field_value_and_fix(settings, message):
    with pytest.raises(ValueError, match=message):
        build_schedule(settings, num_rounds=10)


def test_controller_state_survives_json_and_refuses_another_schedule():
    controller = ScheduledOrder(Linear(2.0, -2.0, 10))
    state = json.loads(json.dumps(controller.state_dict()))
    ScheduledOrder(Linear(2.0, -2.0, 10)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"p: the checkpoint was written with"):
        ScheduledOrder(Linear(2.0, -2.0, 20)).load_state_dict(state)
