"""p as a function of the step."""

import math

import pytest

from holderpo.control.build import build_rule
from holderpo.control.schedule import SHAPES, Annealing, Constant

ANNEALING = "holderpo.control.schedule.Annealing"
CONSTANT = "holderpo.control.schedule.Constant"
LINEAR = {"_target_": ANNEALING, "start": 2.0, "end": -2.0}


def shaped(shape):
    return {**LINEAR, "shape": shape, "exponent": 2.0 if shape == "power" else None}


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
    ("shape", "rises", "formula"),
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
def test_every_shape_is_the_released_codes_formula_at_every_step(shape, rises, formula, low, high):
    start, end = (low, high) if rises else (high, low)
    settings = {**shaped(shape), "start": start, "end": end, "steps": 150}
    schedule = build_rule(settings, num_rounds=1)
    for step in range(400):
        expected = formula(min(1, step / 150), low, high)
        assert schedule.at(step) == pytest.approx(expected, abs=1e-12)


def test_exponent_of_the_power():
    settings = {**LINEAR, "shape": "power", "steps": 40, "exponent": 0.5}
    schedule = build_rule(settings, num_rounds=1)
    for step in range(60):
        expected = code_quad_dec(min(1, step / 40), -2, 2, power=0.5)
        assert schedule.at(step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_rounds", [2, 3, 7, 60, 500])
def test_whole_run_has_start_in_the_first_round_and_end_in_the_last(shape, num_rounds):
    schedule = build_rule(shaped(shape), num_rounds=num_rounds)
    values = [schedule.at(step) for step in range(num_rounds)]
    assert values[0] == 2.0
    assert values[-1] == -2.0
    assert schedule.last_step == num_rounds - 1
    assert values == sorted(values, reverse=True)
    assert all(value > -2.0 for value in values[:-1])


def test_the_end_stays():
    schedule = build_rule({**LINEAR, "steps": 500}, num_rounds=20)
    assert schedule.at(499) > -2.0
    assert schedule.at(500) == schedule.at(10_000) == -2.0


def test_a_run_of_one_round_has_the_end_value():
    assert build_rule(LINEAR, num_rounds=1).at(0) == -2.0


def test_constant():
    schedule = build_rule({"_target_": CONSTANT, "value": 0}, num_rounds=5)
    assert schedule == Constant(0.0)
    assert schedule.at(3) == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_warm_up_then_hold_then_annealing_fill_the_run(shape):
    phases = {"warm_up_steps": 4, "warm_up_from": 0.0, "hold_steps": 3}
    schedule = build_rule({**shaped(shape), **phases}, num_rounds=20)
    values = [schedule.at(step) for step in range(20)]
    assert values[:4] == [0.0, 0.5, 1.0, 1.5]
    assert values[4:8] == [2.0] * 4
    assert values[8] < 2.0
    assert schedule.last_step == 19
    exponent = shaped(shape)["exponent"]
    plain = Annealing(2.0, -2.0, steps=12, shape=shape, exponent=exponent)
    assert values[7:] == pytest.approx([plain.at(step) for step in range(13)], abs=1e-12)
    assert values[-1] == -2.0


def test_a_warm_up_may_come_from_above():
    settings = {**LINEAR, "warm_up_steps": 2, "warm_up_from": 3.0, "steps": 4}
    schedule = build_rule(settings, num_rounds=1)
    assert [schedule.at(step) for step in range(4)] == [3.0, 2.5, 2.0, 1.0]


def test_after_is_the_value_once_the_end_is_passed():
    schedule = build_rule({**LINEAR, "steps": 4, "after": 1.0}, num_rounds=10)
    assert [schedule.at(step) for step in range(7)] == [2.0, 1.0, 0.0, -1.0, -2.0, 1.0, 1.0]


def test_optional_fields_may_be_null():
    nulls = dict.fromkeys(["exponent", "warm_up_from", "after"])
    assert build_rule({**LINEAR, **nulls}, num_rounds=9) == build_rule(LINEAR, num_rounds=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**LINEAR, "shape": "liner"}, r"^p\.shape: 'liner'; give one of linear, cosine"),
        ({}, r"^p\._target_: None; choose a file of configs/p"),
        ({"_target_": 3}, r"^p\._target_: 3; choose"),
        ({"_target_": "linear"}, r"^p\._target_: unknown name 'linear'"),
        ({"_target_": "holderpo.control.nothing"}, r"^p\._target_: cannot load"),
        ({"_target_": "math.sin"}, r"^p\._target_: 'math\.sin' is no dataclass"),
        ({"_target_": "holderpo.metrics.MetricInfo"}, r"^p\._target_: .*is no dataclass"),
        ({**LINEAR, "steps": 0}, r"^p\.steps: 0; .*1 or more, or 'whole_run'"),
        ({**LINEAR, "steps": True}, r"^p\.steps: True"),
        ({**LINEAR, "steps": "all"}, r"^p\.steps: 'all'.*whole_run"),
        ({**LINEAR, "start": float("inf")}, r"^p\.start: inf"),
        ({**LINEAR, "start": None}, r"^p\.start: None; give a finite number"),
        ({**LINEAR, "value": 1.0}, r"^p\.value: not a field of Annealing; it has start, end"),
        ({**LINEAR, "kind": "linear"}, r"^p\.kind: not a field of Annealing"),
        ({**LINEAR, "exponent": 3}, r"^p\.exponent: 3 has no effect on the shape 'linear'"),
        ({"_target_": CONSTANT}, r"^p\.value: missing; Constant needs it"),
        ({"_target_": CONSTANT, "value": "2"}, r"^p\.value: '2'"),
        (
            {"_target_": ANNEALING, "strat": 1.0},
            r"^p\.strat: not a field.*\np\.start: missing.*\np\.end",
        ),
        ({**shaped("power"), "exponent": 0}, r"^p\.exponent: 0; .* above 0"),
        ({**LINEAR, "shape": "power"}, r"^p\.exponent: None; .* above 0"),
        ({**LINEAR, "warm_up_steps": 2}, r"^p\.warm_up_from: None"),
        ({**LINEAR, "warm_up_from": 0.0}, r"^p\.warm_up_from: 0\.0 has no effect"),
        ({**LINEAR, "warm_up_steps": -1}, r"^p\.warm_up_steps: -1"),
        ({**LINEAR, "hold_steps": 1.5}, r"^p\.hold_steps: 1\.5"),
        ({**LINEAR, "hold_steps": 9}, r"^p\.steps: 'whole_run' leaves no round"),
        ({**LINEAR, "after": "end"}, r"^p\.after: 'end'"),
    ],
)
def test_bad_settings_name_field_value_and_fix(settings, message):
    with pytest.raises(ValueError, match=message):
        build_rule(settings, num_rounds=10)


def test_errors_name_the_section_the_settings_are_in():
    with pytest.raises(ValueError, match=r"^p\.positive\.start: missing"):
        build_rule({"_target_": ANNEALING}, num_rounds=10, field="p.positive")
    with pytest.raises(ValueError, match=r"^p\.positive: 2; give a section"):
        build_rule(2, num_rounds=10, field="p.positive")
