"""Two evaluations in the same games."""

import pytest

from holderpo.alfworld.paired_success import paired_differences
from holderpo.alfworld.turns import Outcome
from tests.holderpo.alfworld.episode_samples import LOOK, episode, game

A, B, C = (game(number) for number in (1, 2, 3))


def played(one, *wins):
    """Passes of a game, each won or not."""
    return [
        episode(one, Outcome.WON if won else Outcome.STEP_LIMIT, pass_number=number)
        for number, won in enumerate(wins, start=1)
    ]


def test_games_count_the_same_whatever_their_passes():
    before = played(A, 0, 0) + played(B, 1) + played(C, 1, 0)
    after = played(A, 1) + played(B, 1) + played(C, 1, 1, 1, 0)
    one, of_type = paired_differences(before, after)
    assert (one.name, of_type.name, one.num_games) == ("all", "pick", 3)
    assert one.before == pytest.approx((0 + 1 + 0.5) / 3)
    assert one.after == pytest.approx((1 + 1 + 0.75) / 3)
    assert one.difference == pytest.approx((1 + 0 + 0.25) / 3)
    low, high = one.interval
    assert 0 <= low < one.difference < high <= 1


def test_only_games_of_both_count_and_failed_episodes_nowhere():
    before = played(A, 0) + played(B, 1)
    after = played(A, 1) + played(C, 0)
    assert [one.num_games for one in paired_differences(before, after)] == [1, 1]
    failed = [episode(B, Outcome.FAILED)]
    assert paired_differences(before, after + failed) == paired_differences(before, after)
    assert paired_differences(before, failed) == ()


def test_each_type_of_task_has_its_own_line():
    other = game(4, LOOK)
    lines = paired_differences(played(A, 0) + played(other, 1), played(A, 1) + played(other, 1))
    assert {one.name: one.difference for one in lines} == {"all": 0.5, "pick": 1.0, "look": 0.0}


def test_games_that_differ_alike_give_no_interval():
    lines = paired_differences(played(A, 0) + played(B, 0), played(A, 1) + played(B, 1))
    assert lines[0].interval is None
