"""Rollouts that go on over an update, through the whole stack and an end in between."""

import json

import pytest

from holderpo.studies.run_files import read_rows
from tests.e2e.conftest import MAIN, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_age_of_rollouts_is_logged_corrected_and_in_no_ratio(demo_data, tmp_path):
    """One update a round, so that every ratio of the loss is 1 and what is not comes from age."""
    run_dir = tmp_path / "run"
    command = [
        *[*MAIN, "--config-name=demo", *demo_data, f"run_dir={run_dir}"],
        "trainer.v1.trainer_mode=colocate_async",
        "trainer.v1.colocate_async.num_warmup_batches=2",
        "algorithm.rollout_correction.rollout_is=sequence",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        *[
            "actor_rollout_ref.actor.optim.lr=1e-3",
            "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
        ],
        "data.shuffle=false",
        f"trainer.rollout_data_dir={tmp_path}/rollouts",
        *["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=1"],
        *["trainer.resume_mode=auto", "resume_with=[trainer.total_training_steps,p]"],
    ]
    for last in (3, 6):
        status, output = launch([*command, f"trainer.total_training_steps={last}"])
        assert status == 0, output[-4000:]
    assert "resumed after step 3" in output
    rows = read_rows(run_dir / "metrics.jsonl", [])
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["holder/p"] for row in rows] == pytest.approx([2, 0, -2, -0.4, -1.2, -2])
    for row in rows:
        assert max(abs(row[f"holder/log_ratio_{end}"]) for end in ("min", "max")) < 1e-4
        shares = [
            row.get(f"rollout/age_frac_{age}", 0) for age in ("age0", "age1", "age2", "age3_up")
        ]
        assert sum(shares) == pytest.approx(1)
    old = [
        (row[f"rollout/log_ratio_std_{age}"], row[f"rollout/is_weight_mean_{age}"])
        for row in rows
        for age in ("age1", "age2")
        if f"rollout/age_frac_{age}" in row
    ]
    assert max(std for std, _ in old) > 0.03, "the policy has moved from what wrote them"
    assert any(abs(weight - 1) > 0.01 for _, weight in old)
    staleness = [row["training/off_policy/trajectory_staleness_worst/max"] for row in rows]
    assert max(staleness) >= 1
    # verl counts the same way.
    ages = ("age0", "age1", "age2", "age3_up")
    oldest = [max(n for n, age in enumerate(ages) if f"rollout/age_frac_{age}" in r) for r in rows]
    assert oldest == [min(one, 3) for one in staleness]
    asked = [
        json.loads(line)["input"]
        for step in range(1, 7)
        for line in (tmp_path / "rollouts" / f"{step}.jsonl").open()
    ]
    # 64 problems in order: those under way at the end of the first launch are not lost.
    assert len(set(asked)) == 6 * 8
    assert all(asked.count(problem) == 8 for problem in set(asked))
