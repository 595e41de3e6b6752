"""A part of a split: as many of each task type as there are."""

from collections import Counter

import pytest

from holderpo.alfworld.game_sample import evenly
from holderpo.alfworld.games import Game
from holderpo.alfworld.tasks import TASK_TYPES


def games(*counts, split="valid_seen"):
    return [
        Game(f"{split}/{name}-{n}", name, split, 1, f"{split}{name}{n}", "move", False)
        for name, count in zip(TASK_TYPES, counts, strict=False)
        for n in range(count)
    ]


def counted(chosen):
    found = Counter(game.task_type for game in chosen)
    return [found[name] for name in TASK_TYPES if found[name]]


@pytest.mark.parametrize(
    ("wanted", "of_each"),
    [(3, [1, 1, 1]), (7, [3, 1, 3]), (9, [4, 1, 4]), (10, [5, 1, 4]), (99, [5, 1, 4])],
)
def test_types_with_few_games_leave_their_share_to_the_others(wanted, of_each):
    chosen = evenly(games(5, 1, 4), wanted)
    # Which type has the odd one is settled by the games.
    assert sorted(counted(chosen)) == sorted(of_each)
    assert len(chosen) == min(wanted, 10)


def test_the_part_follows_from_the_games_alone_and_keeps_their_order():
    listed = games(6, 6, 6)
    chosen = evenly(listed, 6)
    assert chosen == [game for game in listed if game in chosen]
    assert set(evenly(listed[::-1], 6)) == set(chosen)
    assert set(chosen) < set(evenly(listed, 9))
    # Not simply the first ones.
    assert chosen != [*listed[:2], *listed[6:8], *listed[12:14]]


def test_every_split_gives_as_many():
    both = games(6, 6) + games(6, 6, split="valid_unseen")
    assert Counter(game.split for game in evenly(both, 8)) == {"valid_seen": 4, "valid_unseen": 4}


def test_none_at_all_is_no_part():
    with pytest.raises(ValueError, match="num_games: 0"):
        evenly(games(2), 0)
