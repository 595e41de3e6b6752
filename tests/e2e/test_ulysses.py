"""Ulysses sequence parallelism on two GPUs: verl gathers the log-probabilities before the loss."""

import pytest
import torch

from holderpo.studies.run_files import read_rows
from tests.e2e.conftest import GPU_LAUNCH_SECONDS, MAIN, launch

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_metrics_do_not_depend_on_how_sequences_are_split(demo_data, tmp_path):
    first = {}
    for size in (1, 2):
        command = [
            *[*MAIN, "--config-name=demo", "device=cuda", *demo_data],
            f"run_dir={tmp_path}/{size}",
            "trainer.n_gpus_per_node=2",
            f"actor_rollout_ref.actor.ulysses_sequence_parallel_size={size}",
            "actor_rollout_ref.model.use_remove_padding=true",
            "actor_rollout_ref.rollout.gpu_memory_utilization=0.3",
            *["trainer.total_training_steps=1", "trainer.val_before_train=false"],
            *["trainer.test_freq=-1", "trainer.save_freq=-1", "report.measure_import=false"],
        ]
        status, output = launch(command, GPU_LAUNCH_SECONDS)
        assert status == 0, output[-4000:]
        (first[size],) = read_rows(tmp_path / str(size) / "metrics.jsonl", [])
    # The same responses; the updates differ by the rounding of bfloat16 alone.
    assert first[2]["critic/rewards/mean"] == first[1]["critic/rewards/mean"]
    for name in ("actor/grad_norm", "holder/log_ratio_std", "holder/ess_frac"):
        assert first[2][name] == pytest.approx(first[1][name], rel=0.05), name
