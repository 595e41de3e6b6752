"""Two FSDP ranks over gloo, by hand: `make test-slow`."""

import pytest

from holderpo.studies.run_files import read_rows
from tests.e2e.conftest import MAIN, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_two_fsdp_ranks_train_and_log_global_metrics(demo_data, tmp_path):
    command = [
        *MAIN,
        "--config-name=demo",
        *demo_data,
        f"run_dir={tmp_path}/run",
        "trainer.n_gpus_per_node=2",
        "trainer.total_training_steps=3",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "report.measure_import=false",
    ]
    status, output = launch(command)
    assert status == 0, output[-4000:]
    rows = read_rows(tmp_path / "run" / "metrics.jsonl", [])
    assert [row["holder/p"] for row in rows] == [2.0, 0.0, -2.0]
    assert all(0 < row["holder/ess_frac"] <= 1 for row in rows)
    assert rows[-1]["holder/log_ratio_std"] > 0
