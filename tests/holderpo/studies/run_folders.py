"""Tiny run folders, as the recorder and Hydra leave them."""

import json

from holderpo.metrics import REWARD_MEAN

REWARD = REWARD_MEAN
HELD_OUT = "val-core/columns/acc/mean@1"


def rewards_of(first, middle, last):
    """24 steps in three parts of 8, each constant."""
    return [first] * 8 + [middle] * 8 + [last] * 8


def write_run(
    folder,
    rewards,
    *,
    name="grpo_seed0",
    seed=0,
    planned=None,
    finished=True,
    held_out=(0.25, 0.75),
    sweep=None,
    summary=None,
    settings="",
):
    """A folder with a line for each reward, from step 1."""
    folder.mkdir(parents=True)
    before, after = held_out
    rows = [] if before is None else [{"step": 0, "wall_time": 100.0, HELD_OUT: before}]
    rows += [
        {"step": step, "wall_time": 100.0 + step, REWARD: reward, "holder/p": 2.0}
        for step, reward in enumerate(rewards, start=1)
    ]
    if after is not None:
        rows[-1][HELD_OUT] = after
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    (folder / "config.yaml").write_text(
        "trainer:\n"
        f"  experiment_name: {name}\n"
        f"  total_training_steps: {planned or len(rewards)}\n"
        f"seed: {seed}\n"
        "data:\n  seed: ${seed}\n"
        f"run_dir: {folder}\n"
        "p:\n  kind: linear\n  start: 2.0\n  end: -2.0\n"
        "actor_rollout_ref:\n  actor:\n    policy_loss:\n      loss_mode: holder\n" + settings
    )
    if finished:
        numbers = {"steps": len(rewards), "seconds_total": 12.5, **(summary or {})}
        (folder / "summary.json").write_text(json.dumps(numbers))
    if sweep is not None:
        (folder / "sweep.json").write_text(json.dumps(sweep))
    return folder
