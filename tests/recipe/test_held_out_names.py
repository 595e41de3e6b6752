"""What the trainer calls the metrics of a validation."""

from recipe.holderpo.trainer import HolderTrainerSync


def metrics_of(problems, lost=()):
    """Metrics of a validation in which all answers are right, but those that failed."""
    trainer = HolderTrainerSync.__new__(HolderTrainerSync)
    answered = [each for each in problems if each not in lost]
    sources, uids = zip(*answered, strict=True)
    found = trainer._val_metrics_update(
        list(sources),
        list(uids),
        {"reward": [1.0] * len(answered), "acc": [1.0] * len(answered)},
        [],
        expected_acc_counts=dict.fromkeys(problems, 1),
    )
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
