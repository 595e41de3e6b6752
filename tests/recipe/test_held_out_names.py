"""What the trainer calls the metrics of a validation."""

import pytest

from holderpo.studies import held_out
from recipe.holderpo.trainer import HolderTrainerSync


def all_metrics(problems, lost=()):
    """Metrics of a validation in which all answers are right, but those that failed."""
    trainer = HolderTrainerSync.__new__(HolderTrainerSync)
    answered = [each for each in problems if each not in lost]
    sources, uids = zip(*answered, strict=True)
    return trainer._val_metrics_update(
        list(sources),
        list(uids),
        {"reward": [1.0] * len(answered), "acc": [1.0] * len(answered)},
        [],
        expected_acc_counts=dict.fromkeys(problems, 1),
    )


def metrics_of(problems, lost=()):
    found = all_metrics(problems, lost)
    return {name: value for name, value in found.items() if name.startswith("val-core/")}


def test_accuracy_on_a_part_of_a_benchmark_has_another_name():
    whole = [("aime24", f"a{number}") for number in range(30)]
    part = [("math500", f"b{number}") for number in range(4)]
    own = [("mine", "c0")]
    assert metrics_of([*whole, *part, *own]) == {
        "val-core/aime24/acc/mean@1": 1.0,
        "val-core/math500_4_of_500/acc/mean@1": 1.0,
        "val-core/mine/acc/mean@1": 1.0,
    }


def test_a_problem_whose_answer_failed_still_belongs_to_the_set():
    """verl counts it as wrong."""
    whole = [("aime24", f"a{number}") for number in range(30)]
    assert metrics_of(whole, lost=whole[:3]) == {"val-core/aime24/acc/mean@1": 0.9}


def test_games_have_their_success_in_all_of_them_beside_that_of_each_type():
    """Every game counts the same, however many a type has."""
    pick = [("alfworld_valid_seen/pick", f"a{number}") for number in range(6)]
    heat = [("alfworld_valid_seen/heat", f"b{number}") for number in range(2)]
    other = [("alfworld_valid_unseen_3_of_134/look", f"c{number}") for number in range(3)]
    mathematics = [("lighteval/MATH", "d0")]
    found = all_metrics([*pick, *heat, *other, *mathematics], lost=[pick[0], *heat, other[0]])
    assert found["val-core/alfworld_valid_seen/pick/acc/mean@1"] == pytest.approx(5 / 6)
    shares = {name: value for name, value in found.items() if name.startswith("val/")}
    # All of heat failed, which verl itself leaves out.
    assert shares == {
        "val/alfworld_valid_seen/success": pytest.approx(5 / 8),
        "val/alfworld_valid_unseen_3_of_134/success": pytest.approx(2 / 3),
    }
    assert held_out.accuracy(found) == pytest.approx((5 / 8 + 2 / 3) / 2)
    assert held_out.by_type(found) == {
        "alfworld_valid_seen/pick": pytest.approx(5 / 6),
        "alfworld_valid_unseen_3_of_134/look": pytest.approx(2 / 3),
    }
