"""Batches divide, and how many groups carry a signal."""

import itertools

import pytest

from recipe.holderpo.checks.batches import signal_share
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, ROLLOUT, refusals, warnings_of
from tests.recipe.composing import composed

OF_TWO = (
    f"{ROLLOUT}.n=2 {ACTOR}.ppo_micro_batch_size_per_gpu=16 "
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=64"
)
OF_FOUR = OF_TWO.replace("n=2", "n=4")


@pytest.mark.parametrize("num_responses", [2, 3, 8])
def test_the_share_of_groups_with_a_signal_is_counted(num_responses):
    success = 0.3
    share = sum(
        success ** sum(rewards) * (1 - success) ** (num_responses - sum(rewards))
        for rewards in itertools.product((0, 1), repeat=num_responses)
        if len(set(rewards)) == 2
    )
    assert signal_share(num_responses, success) == pytest.approx(share, abs=1e-12)


def test_the_plan_shows_the_share(existing):
    plan = check_config(composed("demo", existing))
    (line,) = [line for line in plan.lines if line.startswith("groups")]
    assert (
        line == "groups     57, 99, 57 % carry a signal where 10, 50, 90 % of the responses succeed"
    )


def test_too_small_groups_warn(existing):
    assert warnings_of(existing, OF_TWO) == [
        f"{ROLLOUT}.n is 2: only 50% of the groups carry a signal where half of the responses "
        "succeed, 18% where 1 in 10 does (give 4 or more)"
    ]
    assert warnings_of(existing, OF_FOUR) == []


def test_prompts_are_taken_in_parts_of_a_batch(existing):
    assert refusals(existing, "data.gen_batch_size=5") == [
        "data.gen_batch_size: 5; give null, or a number of prompts that divides "
        "data.train_batch_size (32)"
    ]
    for fits in (
        "data.gen_batch_size=16",
        "data.gen_batch_size=5 algorithm.filter_groups.enable=true",
    ):
        assert check_config(composed("demo", [*existing, *fits.split()])).lines


@pytest.mark.parametrize("size", ["null", "7"])
def test_a_reference_model_takes_parts_of_its_rows(size, existing):
    field = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu"
    (line,) = refusals(existing, f"{FOUR_GPUS} {ACTOR}.use_kl_loss=true {field}={size}")
    assert line.endswith("give a number that divides the 64 rows of each rank")
    assert line.startswith(field)


def test_a_row_fits_the_tokens_of_a_reference_model(existing):
    field = "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu"
    overrides = f"{FOUR_GPUS} {ACTOR}.use_dynamic_bsz=true {field}=35"
    (line,) = refusals(existing, f"{overrides} {ACTOR}.use_kl_loss=true")
    assert line.startswith(f"{field}: 35; a micro-batch must take one row, give at least the 36 ")
    # Without a reference model nothing reads it.
    assert check_config(composed("demo", [*existing, *overrides.split()])).lines
