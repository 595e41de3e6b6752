"""Numbers of a panel."""

import pytest

from holderpo.alfworld.episode_scores import panel_name, score_panel
from holderpo.alfworld.turns import Outcome
from holderpo.bootstrap import BOOTSTRAP, WILSON
from holderpo.intervals import wilson_interval
from tests.holderpo.alfworld.episode_samples import CLEAN, LOOK, PICK, episode, game, manifest_of

LOST, LENGTH, FAILED = Outcome.STEP_LIMIT, Outcome.LENGTH, Outcome.FAILED
GAMES = [game(1), game(2), game(3, LOOK), game(4, CLEAN, wins_without_put=True)]
MANIFEST = manifest_of(GAMES)


def test_one_pass_has_shares_means_and_wilsons_interval():
    records = [
        episode(GAMES[0], steps=4),
        episode(GAMES[1], LOST, steps=50, malformed=10, inadmissible=5, truncated=2),
        episode(GAMES[2], LENGTH, steps=6, restarts=1),
        episode(GAMES[3], steps=20, episode_return=9.5),
    ]
    panel = score_panel(MANIFEST, GAMES, records, num_passes=1)
    whole = panel.whole
    assert panel.metric_prefix == f"alfworld/valid_seen@{MANIFEST.digest[:8]}"
    assert (whole.success, whole.interval) == (0.5, wilson_interval(2, 4))
    assert (whole.interval_kind, whole.num_episodes, whole.num_failed) == (WILSON, 4, 0)
    assert (whole.steps, whole.steps_won) == (20.0, 12.0)
    assert whole.mean_return == pytest.approx(19.5 / 4)
    assert (whole.truncated, whole.malformed, whole.inadmissible) == (2 / 80, 10 / 80, 5 / 80)
    assert whole.outcomes == {Outcome.WON: 2, LOST: 1, LENGTH: 1}
    assert [(one.name, one.num_games, one.success) for one in panel.by_type] == [
        ("pick", 2, 0.5),
        ("look", 1, 0.0),
        ("clean", 1, 1.0),
    ]
    assert panel.by_type[1].steps_won is None
    assert (panel.spread, panel.num_restarts) == (None, 1)
    assert (panel.unmarked.name, panel.unmarked.success) == ("all, without 1 marked", 1 / 3)


def test_passes_are_clustered_by_game():
    won = {1: [1, 1, 1], 2: [1, 0, 1], 3: [0, 0, 0], 4: [1, 1, 0]}
    records = [
        episode(one, Outcome.WON if wins[number] else LOST, pass_number=number + 1)
        for one, wins in zip(GAMES, won.values(), strict=True)
        for number in range(3)
    ]
    panel = score_panel(MANIFEST, GAMES, records, num_passes=3)
    assert panel.whole.success == pytest.approx(7 / 12)
    assert panel.whole.interval_kind == BOOTSTRAP
    # Of four games: wider than if the twelve episodes were independent.
    low, high = panel.whole.interval
    assert high - low > 1.1 * (lambda interval: interval.high - interval.low)(
        wilson_interval(7, 12)
    )
    assert [one.success for one in panel.passes] == [3 / 4, 2 / 4, 2 / 4]
    assert panel.spread == pytest.approx(0.25 / 3**0.5)
    # All games alike have no spread: not an interval of one point.
    assert panel.by_type[1].interval == wilson_interval(0, 1)


def test_failed_episodes_are_counted_apart_and_nothing_is_dropped_silently():
    records = [
        episode(GAMES[0], steps=4),
        episode(GAMES[1], FAILED, steps=30, malformed=30),
        episode(GAMES[2], LOST, steps=6),
        episode(GAMES[3], steps=20),
    ]
    panel = score_panel(MANIFEST, GAMES, records, num_passes=1)
    assert panel.whole.success == 2 / 3
    assert panel.whole.interval == wilson_interval(2, 3)
    assert (panel.whole.steps, panel.whole.malformed) == (10.0, 0.0)
    assert [record.game for record in panel.failed] == [GAMES[1].path]
    assert (panel.whole.num_games, panel.whole.num_played_games) == (4, 3)
    # A number of three of the four games must not be taken for that of the split.
    assert panel.name == "valid_seen_3_of_4"
    assert panel.passes[0].num_failed == 1


def test_a_game_that_failed_in_one_pass_has_the_others():
    records = [
        episode(one, FAILED if (one.scene, number) == (1, 2) else LOST, pass_number=number)
        for one in GAMES
        for number in (1, 2)
    ]
    records[0] = episode(GAMES[0])
    panel = score_panel(MANIFEST, GAMES, records, num_passes=2)
    assert panel.whole.success == 1 / 4
    assert panel.name == "valid_seen"
    assert [(one.num_episodes, one.success) for one in panel.passes] == [(4, 1 / 4), (3, 0.0)]


def test_a_panel_whose_episodes_all_failed_has_no_number():
    records = [episode(one, FAILED, steps=0) for one in GAMES]
    panel = score_panel(MANIFEST, GAMES, records, num_passes=1)
    assert panel.whole.success is panel.whole.interval is panel.whole.malformed is None
    assert panel.name == "valid_seen_0_of_4"
    assert panel.spread is None


@pytest.mark.parametrize(
    "records",
    [
        [episode(one) for one in GAMES[:3]],
        [episode(one) for one in (*GAMES, GAMES[0])],
        [*(episode(one) for one in GAMES[:3]), episode(GAMES[0], pass_number=2)],
    ],
)
def test_other_episodes_than_those_wanted_are_refused(records):
    with pytest.raises(ValueError, match="records: "):
        score_panel(MANIFEST, GAMES, records, num_passes=1)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "valid_seen"),
        ({"num_games": 12}, "valid_seen_12_of_140"),
        ({"num_games": 48, "task_types": [LOOK, PICK]}, "valid_seen_pick_look_48_of_140"),
        ({"task_types": [LOOK]}, "valid_seen"),
    ],
)
def test_a_part_is_called_one(changes, name):
    assert panel_name("valid_seen", **({"num_games": 140, "num_in_split": 140} | changes)) == name
