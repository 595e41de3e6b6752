"""p reaches the loss of verl's own FSDP actor, and what goes wrong there is seen."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe.sharing import made_once

pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """By kind of run, per round: what is logged and the loss of each update, or the error."""
    return made_once(tmp_path_factory, "real_actor", run)


def run(folder):
    store = f"file://{folder}/store"
    shown = subprocess.run(
        [sys.executable, "-m", "tests.recipe.real_actor", str(folder)],
        env={
            **{"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
            "DIST_INIT_METHOD": store,
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout.splitlines()[-1])


def test_orders_agree_in_the_first_update_of_a_round_and_differ_in_the_second(rounds):
    up, down, by_sign = (rounds[name][0]["losses"] for name in ("up", "down", "by sign"))
    assert up[0] == pytest.approx(down[0], rel=1e-6) == pytest.approx(by_sign[0], rel=1e-6)
    assert abs(up[0]) > 0.1, "a loss of 0 would prove little"
    assert abs(up[1] - down[1]) > 1e-4
    assert abs(up[1] - by_sign[1]) > 1e-5


def test_what_is_logged_is_the_order_that_the_actor_used(rounds):
    assert rounds["up"][0]["holder/p"] == 2.0
    assert rounds["down"][0]["holder/p"] == -2.0
    by_sign = rounds["by sign"][0]
    assert (by_sign["holder/p_positive"], by_sign["holder/p_negative"]) == (-2.0, 2.0)
    assert by_sign["holder/p_mean"] == 0.0
    assert not by_sign.keys() & {"holder/p", "holder/p_min", "holder/p_positive_min"}


def test_a_round_of_padding_has_no_order_and_no_trouble(rounds):
    (metrics,) = rounds["padding"]
    assert not any(name.startswith("holder/p") for name in metrics)
    assert metrics["holder/nonfinite_frac"] == metrics["actor/skipped_updates"] == 0.0


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("dropped", "ValueError: holder_order: None; the batch has lost the round's order"),
        (
            "changed",
            "OrderMismatchError: holder/p_positive: the actors used 2 for responses with an "
            "advantage of 0 or more, but the driver handed out -2;",
        ),
        ("verls loss", "ValueError: actor_rollout_ref.actor.policy_loss.p: null, and no order"),
        ("in a thread", "ValueError: actor_rollout_ref.actor.policy_loss.p: null, and no order"),
    ],
)
def test_an_order_that_does_not_reach_the_loss_ends_the_run(rounds, name, error):
    assert rounds[name][0]["error"].startswith(error)


def test_a_response_that_is_not_finite_is_counted_and_its_update_too(rounds):
    first, end = rounds["NaN"]
    assert [math.isnan(loss) for loss in first["losses"]] == [False, True]
    assert first["holder/nonfinite_frac"] == pytest.approx(1 / 8)
    assert first["actor/skipped_updates"] == 1
    assert math.isnan(first["holder/log_ratio_min"])
    assert end["error"].startswith(
        "SkippedUpdatesError: actor/skipped_updates: 1 of 2 in step 2, and some in each of the "
        "last 2 (stop_after_skipped_rounds: 2)"
    )


def test_other_losses_have_the_counts_and_no_order(rounds):
    (metrics,) = rounds["NaN in another loss"]
    assert metrics["holder/nonfinite_frac"] == pytest.approx(1 / 8)
    assert metrics["actor/skipped_updates"] == 0, "this gradient is finite, though the loss is not"
    assert not any(name.startswith("holder/p") for name in metrics)
