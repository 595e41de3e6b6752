"""The random player draws any command, the same ones in every run."""

import itertools
from collections import Counter

import pytest

from holderpo.alfworld.random_policy import RandomPolicy

ADMISSIBLE = ("go to desk 1", "help", "inventory", "look")


def draws(*seeds, admissible=ADMISSIBLE, count=20):
    policy = RandomPolicy(*seeds)
    return [policy.choose(admissible) for _ in range(count)]


def test_draws_are_uniform_without_help():
    counts = Counter(draws(0, "a", 0, count=3000))
    assert set(counts) == set(ADMISSIBLE) - {"help"}
    # Five standard deviations of a third of 3000.
    assert all(abs(count - 1000) < 5 * (3000 * 2 / 9) ** 0.5 for count in counts.values())


def test_draws_follow_from_seed_game_and_pass_alone():
    assert draws(1, "a", 0) == draws(1, "a", 0, admissible=ADMISSIBLE[::-1])
    # A text's own hash differs between processes; these draws do not.
    assert draws(0, "a", 0, count=4) == ["look", "go to desk 1", "look", "look"]
    runs = [draws(*seeds) for seeds in itertools.product((1, 2), ("a", "b"), (0, 1))]
    assert len({tuple(run) for run in runs}) == 8
    assert draws(1, "a1", 2) != draws(1, "a", 12)


@pytest.mark.parametrize("admissible", [(), ("help",)])
def test_there_must_be_a_command(admissible):
    with pytest.raises(ValueError, match="admissible: no command"):
        RandomPolicy(0, "a", 0).choose(admissible)
