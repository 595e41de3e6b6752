"""What workers count, added up, under names that the table of metrics has."""

from holderpo.metrics import METRICS
from recipe.holderpo.alfworld.environment_counts import Counts, add_up, to_metrics


def test_means_and_maxima_are_over_all_workers():
    one, other = Counts(resident_bytes=2**20), Counts(resident_bytes=3 * 2**20)
    one.done("step", waited=1.0, took=0.5)
    other.done("step", waited=0.0, took=0.1)
    other.done("step", waited=0.5, took=0.3)
    other.lost("step_timeout")
    other.lost("died")
    one.lost("not_started")
    one.lost("replaced")
    metrics = to_metrics(add_up([one, other]))
    assert metrics["env/step_count"] == 3
    assert abs(metrics["env/step_seconds_mean"] - 0.3) < 1e-9
    assert metrics["env/step_seconds_max"] == 0.5
    assert metrics["env/step_wait_seconds_mean"] == 0.5
    assert metrics["env/step_timeout_count"] == 1
    assert metrics["env/process_death_count"] == 2
    assert metrics["env/resident_mb_max"] == 3
    assert metrics["env/reset_count"] == 0
    assert "env/reset_seconds_mean" not in metrics, "a mean of nothing"


def test_every_metric_is_in_the_table():
    counts = Counts()
    for kind in ("step", "reset"):
        counts.done(kind, waited=0.0, took=0.0)
    assert to_metrics(counts).keys() <= {metric.name for metric in METRICS}
