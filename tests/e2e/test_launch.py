"""Seven real launches of verl, Ray, vLLM and FSDP2 on this machine's CPU."""

import json
import re
import signal
from itertools import pairwise

import pytest
import torch

from holderpo.studies.run_files import read_rows
from recipe.holderpo.run.environment import CPU_ENVIRONMENT
from tests.e2e.conftest import MAIN, launch, launch_until, still_running
from tests.e2e.scripted import write_scripted_model
from tests.holderpo.grading.math_files import SHARED

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def mean_ratio(log_ratio, mask, p):
    """A user's own aggregation: the geometric mean, whatever p."""
    return (log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def halve(advantages, batch):
    """A user's own advantage transform."""
    return advantages / 2


def test_stock_verl_trains_with_the_plugins_loss_and_estimator(demo_data, tmp_path):
    """No code of ours is named: verl's entry point alone brings both to driver and actor."""
    command = [
        *MAIN[:2],
        "verl.trainer.main_ppo",
        "--config-dir=configs",
        "+device=cpu",
        *demo_data,
        "data.max_prompt_length=18",
        "data.max_response_length=18",
        "actor_rollout_ref.actor.policy_loss.loss_mode=holder",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean",
        "algorithm.adv_estimator=holder",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.n=8",
        "actor_rollout_ref.rollout.max_model_len=64",
        "reward.custom_reward_function.path=pkg://holderpo.rewards.exact_match",
        "trainer.total_training_steps=2",
        "trainer.total_epochs=5",
        "trainer.val_before_train=false",
        "trainer.logger=[console]",
        f"trainer.default_local_dir={tmp_path}",
    ]
    status, output = launch(command, **CPU_ENVIRONMENT)
    assert status == 0, output[-4000:]
    assert "step:2 - " in output
    assert "actor/pg_clipfrac" in output


def test_demo_with_a_users_own_functions_ends_with_a_report(demo_data, tmp_path):
    here = __name__
    run_dir = tmp_path / "run"
    command = [
        *MAIN,
        "--config-name=demo",
        *demo_data,
        f"run_dir={run_dir}",
        "trainer.total_training_steps=3",
        "trainer.save_freq=-1",
        f"actor_rollout_ref.actor.policy_loss.aggregate={here}.mean_ratio",
        f"advantage.transforms=[{{name:{here}.halve}}]",
    ]
    status, output = launch(command)
    assert status == 0, output[-4000:]
    lines = output.splitlines()
    assert any(line.startswith("p          +2 to -2 over 3 rollout rounds") for line in lines)
    assert f"aggregate  {here}.mean_ratio" in lines
    assert f"advantage  {here}.halve" in lines
    started = [line.split(",")[0] for line in lines if line.startswith("start")]
    assert started[1:] == [
        f"start      {phase}"
        for phase in ("Ray up", "TransferQueue up", "actor and vLLM up", "first update done")
    ]
    assert lines[-1].endswith("p=sign_matched trainer.experiment_name=demo_sign_matched")
    assert f"log        {run_dir}/run.log (everything Ray, vLLM and verl say)" in lines
    assert [line[:9] for line in lines if line.startswith("step")] == [
        f"step    {step}" for step in range(4)
    ]
    assert len(lines) < 40, "the flood belongs into the log"

    rows = read_rows(run_dir / "metrics.jsonl", [])
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["holder/p"] for row in rows[1:]] == [2.0, 0.0, -2.0]
    assert rows[3]["holder/log_ratio_std"] > 0
    assert "holder/ess_frac" not in rows[3], "the weights of a user's function are not known"
    # verl logs the advantages it was given: normalised ones of 8 responses reach 2.47, halved 1.24.
    assert 0 < max(row["critic/advantages/max"] for row in rows[1:]) < 1.24

    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["num_heldout"] == 16
    assert summary["rollouts_per_step"] == 64
    assert summary["updates_per_step"] == 2
    assert (run_dir / "report.png").stat().st_size > 10_000
    assert list((run_dir / "tensorboard").iterdir())


def test_demo_without_the_shortcuts_of_the_cpu(demo_data, tmp_path):
    """verl's own rollout and reward workers, router and ways to start processes."""
    run_dir = tmp_path / "run"
    command = [
        *MAIN,
        "--config-name=demo",
        *demo_data,
        f"run_dir={run_dir}",
        "cpu.shortcuts=false",
        "trainer.total_training_steps=2",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
    ]
    status, output = launch(command)
    assert status == 0, output[-4000:]
    assert [line[:9] for line in output.splitlines() if line.startswith("step")] == [
        f"step    {step}" for step in (1, 2)
    ]
    rows = read_rows(run_dir / "metrics.jsonl", [])
    assert [row["holder/p"] for row in rows] == [2.0, -2.0]
    assert 0 < rows[0]["critic/rewards/mean"] < 1
    log = (run_dir / "run.log").read_text()
    assert "CpuAgentLoop" not in log


@pytest.fixture(scope="module")
def math_data(tmp_path_factory):
    """Real rows, half of them with the answer 2, and a model whose answer is mostly 2.

    The twelve of MATH levels 3 to 5 are one pass for three steps of four.
    """
    if not SHARED.exists():
        pytest.skip(f"needs the files of the mathematics sets in {SHARED}")
    folder = tmp_path_factory.mktemp("math")
    for name, file, each in [
        ("math_level3to5", "math_level3to5_train", 6),
        ("math500", "math500", 2),
    ]:
        rows = [json.loads(line) for line in (SHARED / f"{file}.jsonl").read_text().splitlines()]
        rows = [row for row in rows if len(row["problem"]) < 400 and row["problem"].isascii()]
        twos = [row for row in rows if row["answer"] == "2"][:each]
        others = [row for row in rows if row["answer"] != "2"][:each]
        source = folder / f"{name}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in twos + others))
        status, output = launch(
            [
                *MAIN[:2],
                f"data_prep.{name}",
                f"--source={source}",
                f"--folder={folder / name}",
                "--any-number-of-rows",
            ]
        )
        assert status == 0, output
    write_scripted_model(folder / "model", max_tokens=1432)
    return folder


@pytest.mark.parametrize(
    "ended_by", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.faults)]
)
def test_mathematics_interrupted_resumed_and_evaluated(math_data, tmp_path, ended_by):
    """Three launches: one ended after its first checkpoint, one that goes on, an evaluation."""
    run_dir = tmp_path / "run"
    command = [
        *MAIN,
        "--config-name=math_smoke",
        f"data.train_files={math_data}/math_level3to5/train.parquet",
        f"data.val_files={math_data}/math500/test.parquet",
        f"actor_rollout_ref.model.path={math_data}/model",
        f"run_dir={run_dir}",
        f"trainer.rollout_data_dir={tmp_path}/rollouts",
        *["p=sign_matched", "p@p.positive=linear", "p@p.negative=ess"],
        "trainer.total_training_steps=3",
        "trainer.val_before_train=true",
    ]
    status, output, children = launch_until(
        command, lambda line: line.startswith("step    1"), ended_by
    )
    if ended_by == signal.SIGINT:
        assert status == 130, output
        last = output.splitlines()[-1]
        assert last.startswith("interrupted; resume with: ")
        assert last.endswith(" trainer.resume_mode=auto")
        assert len(children) > 5
        assert still_running(children) == []
    else:
        assert status == -signal.SIGKILL, output
    latest = run_dir / "checkpoints" / "latest_checkpointed_iteration.txt"
    ended_at = int(latest.read_text())

    status, output = launch(command)
    assert status == 0, output[-4000:]
    assert f"resumed after step {ended_at}" in output
    rows = read_rows(run_dir / "metrics.jsonl", [])
    assert [row["step"] for row in rows] == [0, 1, 2, 3], "validated once, each step once"
    assert [row["holder/p_positive"] for row in rows[1:]] == [2.0, 0.0, -2.0]
    assert (run_dir / "summary.json").exists()

    last = run_dir / "checkpoints" / "global_step_3"
    optimizer = torch.load(last / "actor/optim_world_size_1_rank_0.pt", weights_only=False)
    steps_taken = {state["step"].item() for state in optimizer["state"].values()}
    assert steps_taken == {6.0}, "two updates per step, counted on across the end"
    controller = json.loads((last / "holderpo.json").read_text())
    schedule = controller["controller"]["positive"]["configuration"]
    assert (schedule["shape"], schedule["start"], schedule["end"]) == ("linear", 2.0, -2.0)
    assert schedule["steps"] == 2
    # A round without a negative advantage used none of its orders.
    adapted = [row["holder/p_negative"] for row in rows[1:] if "holder/p_negative" in row]
    adapted.append(controller["controller"]["negative"]["p"])
    assert adapted[0] == 1.0
    # Ratios stay near 1, so it rises whenever there is a negative advantage.
    assert {after - before for before, after in pairwise(adapted)} <= {0.0, 0.5}
    rollouts = [
        [json.loads(line) for line in (tmp_path / "rollouts" / f"{step}.jsonl").open()]
        for step in (1, 2, 3)
    ]
    prompts = [{rollout["input"] for rollout in each} for each in rollouts]
    assert [len(each) for each in prompts] == [4, 4, 4]
    assert len(set.union(*prompts)) == 12, "the data goes on where it stopped: one pass, no repeat"
    for row, each in zip(rows[1:], rollouts, strict=True):
        is_cut = ["." in rollout["output"] for rollout in each]
        assert row["reward/truncated_frac"] == pytest.approx(sum(is_cut) / 16)
        is_right = [r["output"] == "\\boxed{2}" and r["gts"] == ["2"] for r in each]
        assert [rollout["score"] for rollout in each] == [float(right) for right in is_right]
        assert row["critic/rewards/mean"] == pytest.approx(sum(is_right) / 16)
    accuracies = [row.get("val-core/math500_4_of_500/acc/mean@1") for row in rows]
    assert accuracies == [0.5, None, 0.5, 0.5], "greedy: 2 is right for two of the four"
    assert 0 < sum(row["critic/rewards/mean"] for row in rows[1:]) < 1.5, "some, not all of the 2s"

    out = tmp_path / "evaluation"
    command = [
        *[*MAIN[:2], "recipe.holderpo.evaluate", "math"],
        *[f"--model={run_dir}", f"--data={math_data}"],
        *["--sets", "math500", "--sampling", "math500", "temperature=1", "samples=2", "k=2"],
        *["--seeds", "0", "1", "--max-tokens", "32", "--device", "cpu", f"--out={out}"],
    ]
    status, output = launch(command)
    assert status == 0, output[-4000:]
    records = [json.loads(line) for line in (out / "math500.jsonl").open()]
    assert len(records) == 16
    for record in records:
        is_right = record["response"] == "\\boxed{2}" and record["index"] < 2
        assert record["score"] == float(is_right)
    share = sum(record["score"] for record in records) / 16
    assert re.search(rf"\| avg@2 +\| {100 * share:.1f} +\|", (out / "report.md").read_text())


def broken_aggregate(log_ratio, mask, p):
    """A user's aggregation that fails inside the actor's process."""
    raise ValueError("the user's own mistake")


def test_a_crash_in_a_worker_ends_everything_and_shows_the_error_last(demo_data, tmp_path):
    command = [
        *MAIN,
        "--config-name=demo",
        *demo_data,
        f"run_dir={tmp_path}/run",
        "trainer.val_before_train=false",
        f"actor_rollout_ref.actor.policy_loss.aggregate={__name__}.broken_aggregate",
    ]
    status, output = launch(command)
    assert status == 1, output
    details, last = output.splitlines()[-2:]
    assert details == f"details in {tmp_path}/run/run.log"
    assert last.startswith(
        "failed: ValueError: the user's own mistake; no checkpoint was saved, start again with: "
    )
    assert "Traceback" in (tmp_path / "run" / "run.log").read_text()
