"""Which game a group plays, whenever and wherever it is asked for."""

import random
from collections import Counter

import pytest

from holderpo.alfworld.games import Game
from holderpo.alfworld.task_sequence import TaskSequence


def games(number=10):
    return [
        Game(f"train/{i}", "pick_and_place_simple", "train", 1, f"{i:064d}", "move", False)
        for i in range(number)
    ]


def played(sequence, steps, groups=4):
    return [sequence.game(step, group).path for step in steps for group in range(groups)]


def test_a_run_that_starts_again_has_the_same_games_from_there_on():
    whole = played(TaskSequence(games(), 0, 4), range(10))
    for restart in (3, 7):
        assert played(TaskSequence(games(), 0, 4), range(restart, 10)) == whole[restart * 4 :]
    backwards = TaskSequence(games(), 0, 4)
    assert [backwards.game(step, 0).path for step in (9, 0, 5)] == [whole[36], whole[0], whole[20]]


def test_the_order_of_the_list_does_not_matter():
    shuffled = games()
    random.Random(3).shuffle(shuffled)
    assert played(TaskSequence(shuffled, 0, 4), range(10)) == played(
        TaskSequence(games(), 0, 4), range(10)
    )


def test_a_pass_has_each_game_once_and_the_next_another_order():
    sequence = TaskSequence(games(), 0, 4)
    whole = played(sequence, range(10))
    passes = [whole[i : i + 10] for i in range(0, 40, 10)]
    assert all(Counter(one).most_common(1)[0][1] == 1 for one in passes)
    assert len({tuple(one) for one in passes}) == 4


def test_seeds_differ_and_the_sequence_is_pinned():
    assert played(TaskSequence(games(), 0, 4), [0]) != played(TaskSequence(games(), 1, 4), [0])
    # A change here changes what resumed runs play.
    assert played(TaskSequence(games(), 0, 4), [0, 1]) == PINNED


PINNED = [f"train/{i}" for i in [0, 6, 3, 2, 4, 7, 8, 5]]


def test_more_groups_than_games_play_some_twice():
    assert len(played(TaskSequence(games(3), 0, 8), [0, 1], groups=8)) == 16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaskSequence([], 0, 4), "games: none"),
        (lambda: TaskSequence(games(), 0, 0), "groups_per_step: 0"),
        (lambda: TaskSequence(games(), 0, 4).game(-1, 0), "step -1"),
        (lambda: TaskSequence(games(), 0, 4).game(0, 4), "group 4"),
    ],
)
def test_what_is_no_step_or_group_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
