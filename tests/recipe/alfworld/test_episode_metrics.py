"""A round's episodes as metrics."""

import random

from holderpo.metrics import METRICS
from recipe.holderpo.alfworld.episode_metrics import episode_metrics


def rows_of(prompt, number, outcome, task_type, kinds, value=0.0, restarts=0):
    """Keys and extra fields of an episode's turns."""
    episode = {
        "return": value,
        "task_type": task_type,
        "outcome": outcome,
        "num_turns": len(kinds),
        "num_restarts": restarts,
    }
    # One that failed before its first turn has a row all the same.
    return [
        (f"{prompt}_{number}_{turn}", {"episode": episode, "turn": {"kind": kind}})
        for turn, kind in enumerate(kinds or [""])
    ]


def metrics_of(rows, num_started, num_padding=0):
    rows = rows + [(f"pad1_{number}_0", rows[0][1]) for number in range(num_padding)]
    random.Random(0).shuffle(rows)
    keys = [key for key, _ in rows]
    return episode_metrics(
        keys,
        [fields for _, fields in rows],
        [key.startswith("pad") for key in keys],
        num_started=num_started,
    )


def test_each_episode_counts_once_whatever_its_length():
    rows = [
        *rows_of("a", 0, "won", "pick", ["valid"] * 2, 10.0),
        *rows_of("a", 1, "step_limit", "pick", ["valid"] * 5 + ["malformed"], -0.1),
        *rows_of("b", 0, "length", "heat", ["inadmissible"], 0.0, restarts=2),
        *rows_of("b", 1, "won", "heat", ["valid"], 10.0),
    ]
    metrics = metrics_of(rows, num_started=4, num_padding=3)
    assert metrics == {
        "env/episode_failed_count": 0,
        "env/episode_restart_count": 2,
        "episode/success_frac": 0.5,
        "episode/return_mean": 19.9 / 4,
        "episode/turns_mean": 2.5,
        "episode/turns_max": 6,
        "episode/step_limit_frac": 0.25,
        "episode/length_frac": 0.25,
        "episode/success_frac_pick": 0.5,
        "episode/success_frac_heat": 0.5,
        "episode/turn_malformed_frac": 0.1,
        "episode/turn_inadmissible_frac": 0.1,
    }
    assert set(metrics) <= {metric.name for metric in METRICS}


def test_failed_episodes_are_counted_with_and_without_rows():
    rows = [
        *rows_of("a", 0, "won", "pick", ["valid"], 10.0),
        *rows_of("a", 1, "failed", "pick", []),
        *rows_of("a", 2, "failed", "pick", ["malformed"]),
    ]
    metrics = metrics_of(rows, num_started=8)
    assert metrics["env/episode_failed_count"] == 7
    assert metrics["episode/success_frac"] == 1 / 3
    assert metrics["episode/turn_malformed_frac"] == 0.5, "one of the two turns there were"
