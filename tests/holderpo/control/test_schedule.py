"""p as a function of the step."""

import math

import pytest

from holderpo.control.schedule import FIELDS, SHAPES, Annealing, Constant, build_schedule

LINEAR = {"kind": "linear", "start": 2.0, "end": -2.0, "steps": "whole_run"}


# The formulas of the authors' released code, one function a name.
def code_linear(s, low, high):
    return low + (high - low) * s


def code_linear_dec(s, low, high):
    return high - (high - low) * s


def code_sin(s, low, high):
    return (low + high) / 2 - (high - low) / 2 * math.cos(math.pi * s)


def code_cos(s, low, high):
    return (low + high) / 2 + (high - low) / 2 * math.cos(math.pi * s)


def code_quad(s, low, high, power=2):
    return low + (high - low) * s**power


def code_quad_dec(s, low, high, power=2):
    return high - (high - low) * s**power


def code_cubic(s, low, high):
    return (low + high) / 2 + (high - low) / 2 * (2 * s - 1) ** 3


def code_cubic_dec(s, low, high):
    return (low + high) / 2 - (high - low) / 2 * (2 * s - 1) ** 3


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-1.0, 1.0), (-0.7, 3.1)])
@pytest.mark.parametrize(
    ("kind", "rises", "formula"),
    [
        ("linear", True, code_linear),
        ("linear", False, code_linear_dec),
        ("cosine", True, code_sin),
        ("cosine", False, code_cos),
        ("power", True, code_quad),
        ("power", False, code_quad_dec),
        ("cubic", True, code_cubic),
        ("cubic", False, code_cubic_dec),
    ],
)
def test_every_shape_is_the_released_codes_formula_at_every_step(kind, rises, formula, low, high):
    start, end = (low, high) if rises else (high, low)
    settings = {"kind": kind, "start": start, "end": end, "steps": 150}
    schedule = build_schedule(settings, num_rounds=1)
    for step in range(400):
        expected = formula(min(1, step / 150), low, high)
        assert schedule.value(step) == pytest.approx(expected, abs=1e-12)


def test_exponent_of_the_power():
    settings = {"kind": "power", "start": 2, "end": -2, "steps": 40, "exponent": 0.5}
    schedule = build_schedule(settings, num_rounds=1)
    for step in range(60):
        expected = code_quad_dec(min(1, step / 40), -2, 2, power=0.5)
        assert schedule.value(step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("num_rounds", [2, 3, 7, 60, 500])
def test_whole_run_has_start_in_the_first_round_and_end_in_the_last(kind, num_rounds):
    schedule = build_schedule({**LINEAR, "kind": kind}, num_rounds=num_rounds)
    values = [schedule.value(step) for step in range(num_rounds)]
    assert values[0] == 2.0
    assert values[-1] == -2.0
    assert schedule.last_step == num_rounds - 1
    assert values == sorted(values, reverse=True)
    assert all(value > -2.0 for value in values[:-1])


def test_the_end_stays():
    schedule = build_schedule({**LINEAR, "steps": 500}, num_rounds=20)
    assert schedule.value(499) > -2.0
    assert schedule.value(500) == schedule.value(10_000) == -2.0


def test_a_run_of_one_round_has_the_end_value():
    assert build_schedule(LINEAR, num_rounds=1).value(0) == -2.0


def test_constant():
    schedule = build_schedule({"kind": "constant", "value": 0}, num_rounds=5)
    assert schedule == Constant(0.0)
    assert schedule.value(3) == 0.0


@pytest.mark.parametrize("kind", SHAPES)
def test_warm_up_then_hold_then_annealing_fill_the_run(kind):
    phases = {"warm_up_steps": 4, "warm_up_from": 0.0, "hold_steps": 3}
    schedule = build_schedule({**LINEAR, "kind": kind, **phases}, num_rounds=20)
    values = [schedule.value(step) for step in range(20)]
    assert values[:4] == [0.0, 0.5, 1.0, 1.5]
    assert values[4:8] == [2.0] * 4
    assert values[8] < 2.0
    assert schedule.last_step == 19
    plain = Annealing(kind, 2.0, -2.0, steps=12)
    assert values[7:] == pytest.approx([plain.value(step) for step in range(13)], abs=1e-12)
    assert values[-1] == -2.0


def test_a_warm_up_may_come_from_above():
    settings = {**LINEAR, "warm_up_steps": 2, "warm_up_from": 3.0, "steps": 4}
    schedule = build_schedule(settings, num_rounds=1)
    assert [schedule.value(step) for step in range(4)] == [3.0, 2.5, 2.0, 1.0]


def test_after_is_the_value_once_the_end_is_passed():
    schedule = build_schedule({**LINEAR, "steps": 4, "after": 1.0}, num_rounds=10)
    assert [schedule.value(step) for step in range(7)] == [2.0, 1.0, 0.0, -1.0, -2.0, 1.0, 1.0]


def test_fields_set_to_null_count_as_not_set():
    nulls = dict.fromkeys(["value", "exponent", "warm_up_from", "after", "of_some_other_kind"])
    assert build_schedule({**LINEAR, **nulls}, num_rounds=9) == build_schedule(LINEAR, num_rounds=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "liner"}, r"p\.kind: 'liner'; give one of \['constant', .*'linear'"),
        ({}, r"p\.kind: None"),
        ({**LINEAR, "steps": 0}, r"p\.steps: 0"),
        ({**LINEAR, "steps": True}, r"p\.steps: True"),
        ({**LINEAR, "steps": "all"}, r"p\.steps: 'all'.*whole_run"),
        ({**LINEAR, "start": float("inf")}, r"p\.start: inf"),
        ({**LINEAR, "value": 1.0}, r"p\.value: not a field of kind 'linear'"),
        ({**LINEAR, "exponent": 3}, r"p\.exponent: not a field of kind 'linear'"),
        ({"kind": "constant"}, r"p\.value: missing"),
        ({"kind": "constant", "value": "2"}, r"p\.value: '2'"),
        ({"kind": "linear", "strat": 1.0}, r"p\.strat: not a field.*\np\.start: missing.*\np\.end"),
        ({**LINEAR, "kind": "power", "exponent": 0}, r"p\.exponent: 0; .* above 0"),
        ({**LINEAR, "warm_up_steps": 2}, r"p\.warm_up_from: None"),
        ({**LINEAR, "warm_up_from": 0.0}, r"p\.warm_up_from: 0\.0 has no effect"),
        ({**LINEAR, "warm_up_steps": -1}, r"p\.warm_up_steps: -1"),
        ({**LINEAR, "hold_steps": 1.5}, r"p\.hold_steps: 1\.5"),
        ({**LINEAR, "hold_steps": 9}, r"p\.steps: 'whole_run' leaves no round"),
        ({**LINEAR, "after": "end"}, r"p\.after: 'end'"),
    ],
)
def test_bad_settings_name_field_value_and_fix(settings, message):
    with pytest.raises(ValueError, match=message):
        build_schedule(settings, num_rounds=10)


def test_errors_name_the_section_the_settings_are_in():
    with pytest.raises(ValueError, match=r"^p\.positive\.start: missing"):
        build_schedule({"kind": "linear"}, num_rounds=10, field="p.positive")
    with pytest.raises(ValueError, match=r"^p\.positive: 2; give a section"):
        build_schedule(2, num_rounds=10, field="p.positive")


def test_every_kind_can_be_built_from_its_required_fields():
    values = {"value": 1.0, "start": 1.0, "end": -1.0, "steps": 5}
    for kind, (required, _) in FIELDS.items():
        settings = {"kind": kind, **{name: values[name] for name in required}}
        assert math.isfinite(build_schedule(settings, num_rounds=3).value(2))
