"""Rules and schedules of a user's own, right and wrong."""

import dataclasses
import json
import math

import pytest

from holderpo.control import RoundStatistics, build_controller
from holderpo.control.rules import FeedbackRule

RULES = "holderpo.control.rules."
ANNEALING = {"_target_": "holderpo.control.schedule.Annealing", "start": 1, "end": 0}
CONSTANT = {"_target_": "holderpo.control.schedule.Constant", "value": 0.05}
ESS = {"_target_": RULES + "EssSetPoint", "start": 1.0, "set_point": CONSTANT}


def restored(controller, settings, num_rounds):
    other = build_controller(settings, num_rounds=num_rounds)
    other.load_state_dict(json.loads(json.dumps(controller.state_dict())))
    return other


@dataclasses.dataclass(frozen=True, kw_only=True)
class FollowSpread(FeedbackRule):
    """As a user would write it."""

    gain: float
    reads = frozenset({"log_ratio_std"})

    def measure(self, statistics, p):
        return None if statistics.log_ratio_std is None else (statistics.log_ratio_std,)

    def propose(self, quantities, step):
        return self.gain * quantities[0]


@dataclasses.dataclass(frozen=True)
class Halving:
    """A schedule as a user would write it."""

    start: float
    last_step = 100

    def at(self, step):
        return self.start / 2**step


def test_a_rule_of_ones_own_is_one_class_and_its_settings():
    settings = {"_target_": f"{__name__}.FollowSpread", "start": 1.0, "gain": 10.0}
    controller = build_controller(settings, num_rounds=9)
    controller.update(0, RoundStatistics(log_ratio_std=0.12))
    assert controller.value(1)["holder/p"] == pytest.approx(1.2)
    assert controller.rules == {"p": "FollowSpread"}
    twin = restored(controller, settings, 9)
    assert twin.order(1) == controller.order(1)
    with pytest.raises(ValueError, match=r"'gain': 10\.0.*'gain': 9\.0"):
        restored(controller, {**settings, "gain": 9.0}, 9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Careless(FeedbackRule):
    """What a user's rule can do wrong."""

    fault: str
    low: float = 1.0
    high: float = -1.0

    def __post_init__(self):
        """The checks of the base class are forgotten."""

    def for_run(self, num_rounds):
        if self.fault == "raises":
            raise RuntimeError("out of order")
        return self

    def measure(self, statistics, p):
        return (1,)

    def propose(self, quantities, step):
        return math.nan if self.fault == "nan" else 1


class Undecorated(FollowSpread):
    more: float = 1.0


@dataclasses.dataclass(frozen=True)
class Misread(FollowSpread):
    reads = frozenset({"log_ratio_sd"})


@dataclasses.dataclass(frozen=True)
class Gap:
    """A schedule without a value in the third round; its last step is a setting."""

    last_step: int

    def at(self, step):
        return math.nan if step == 2 else 1


OWN = {"start": 0.5, "gain": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"_target_": f"{__name__}.Careless", "start": 0, "fault": ""},
            r"^p\.high: -1\.0; give a fin",
        ),
        (
            {"_target_": f"{__name__}.Careless", "start": 0, "fault": "raises", "high": 2},
            r"^p: .*Careless fails: RuntimeError: out of order",
        ),
        (
            {"_target_": RULES + "FeedbackRule", "start": 0},
            r"^p: .*FeedbackRule fails: TypeError",
        ),
        ({"_target_": f"{__name__}.Undecorated", **OWN}, r"^p\._target_: .*lacks @dataclass"),
        ({"_target_": f"{__name__}.Misread", **OWN}, r"^p\.reads: log_ratio_sd; give names of ess"),
        (
            {"_target_": f"{__name__}.Gap", "last_step": 3},
            r"^p\.at\(2\): nan; give a finite",
        ),
        (
            {"_target_": "holderpo.control.order.UniformOrder", "p": 1},
            r"^p: UniformOrder is no",
        ),
        ({"_target_": ".x.y"}, r"^p\._target_: cannot load '\.x\.y' \(TypeError"),
        ({**ANNEALING, "shape": ["linear"]}, r"^p\.shape: \['linear'\]; give one of"),
    ],
)
def test_mistakes_of_ones_own_rules_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build_controller(settings, num_rounds=10)


def test_a_rule_that_proposes_no_number_leaves_p_as_it_is():
    settings = {"_target_": f"{__name__}.Careless", "start": 0.5, "high": 2, "low": -2}
    controller = build_controller({**settings, "fault": "nan"}, num_rounds=9)
    before = controller.state_dict()
    controller.update(0, RoundStatistics())
    assert controller.state_dict() == before
    whole = build_controller({**settings, "fault": "", "smoothing": 1}, num_rounds=9)
    whole.update(0, RoundStatistics())
    assert restored(whole, {**settings, "fault": "", "smoothing": 1}, 9).order(1) == whole.order(1)


def test_a_schedule_of_ones_own_may_end_at_a_setting():
    settings = {"_target_": f"{__name__}.Gap", "last_step": 1}
    assert build_controller(settings, num_rounds=2).schedules["p"].last_step == 1


def test_a_schedule_of_ones_own_works_alone_and_within_a_rule():
    settings = {"_target_": f"{__name__}.Halving", "start": 0.5}
    controller = build_controller(settings, num_rounds=9)
    assert [controller.order(step).p for step in range(3)] == [0.5, 0.25, 0.125]
    assert list(controller.schedules) == ["p"]
    assert list(build_controller({**ESS, "set_point": settings}, num_rounds=9).schedules) == [
        "p.set_point"
    ]
