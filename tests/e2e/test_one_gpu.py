"""The demo on one GPU: of the machine only the device is set.

Besides, only sizes are: the fixture's few problems in small batches, two rounds, no validation and
no checkpoint.
"""

import pytest
import torch

from holderpo.studies.run_files import read_rows
from tests.e2e.conftest import GPU_LAUNCH_SECONDS, MAIN, launch

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a GPU")
def test_the_demo_trains_on_the_machine_at_hand(demo_data, tmp_path):
    command = [
        *[*MAIN, "--config-name=demo", "device=cuda", *demo_data, f"run_dir={tmp_path}/run"],
        *["trainer.total_training_steps=2", "trainer.val_before_train=false"],
        *["trainer.test_freq=-1", "trainer.save_freq=-1"],
    ]
    status, output = launch(command, GPU_LAUNCH_SECONDS)
    assert status == 0, output[-4000:]
    assert "from it    actor_rollout_ref.rollout.agent.num_workers=" in output
    rounds = read_rows(tmp_path / "run" / "metrics.jsonl", [])
    assert [row["step"] for row in rounds] == [1, 2]
