"""Training on ALFWorld: the real stack, killed and resumed."""

import json
import signal

import pytest

from data_prep.alfworld_generator import GeneratorSettings, generate
from data_prep.alfworld_tables import read_tables
from data_prep.tiny_model import save, tiny_qwen2
from holderpo.alfworld.games import read_manifest
from holderpo.alfworld.task_sequence import TaskSequence
from holderpo.studies.run_files import read_rows
from tests.alfworld_games import needs_alfworld
from tests.e2e.conftest import MAIN, launch, launch_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), needs_alfworld]
SEED, GROUPS, EPISODES = 3, 2, 4


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """Two small games of each type to train on, one to validate, and a random model."""
    folder = tmp_path_factory.mktemp("alfworld")
    generate(folder, GeneratorSettings(size="small", train=2, valid_seen=1), read_tables())
    save(folder / "model", tiny_qwen2(max_tokens=2080))
    return folder


def test_a_killed_run_goes_on_with_the_games_that_it_would_have_had(games, tmp_path):
    run_dir = tmp_path / "run"
    command = [
        *MAIN,
        "--config-name=alfworld_smoke",
        f"data.train_files={games}/train.json",
        f"data.val_files={games}/valid_seen.json",
        f"actor_rollout_ref.model.path={games}/model",
        f"run_dir={run_dir}",
        f"trainer.rollout_data_dir={tmp_path}/rollouts",
        "trainer.total_training_steps=3",
        "trainer.test_freq=3",
        f"seed={SEED}",
        "advantage.step_weight=1",
    ]
    status, output, _ = launch_until(
        command, lambda line: line.startswith("step    1"), signal.SIGKILL
    )
    assert status == -signal.SIGKILL, output
    status, output = launch(command)
    assert status == 0, output[-4000:]
    assert "resumed after step 1" in output

    rows = read_rows(run_dir / "metrics.jsonl", [])
    assert [row["step"] for row in rows] == [1, 2, 3]
    train = read_manifest(games / "train.json")
    sequence = TaskSequence(train.games, SEED, GROUPS)
    for step, row in enumerate(rows):
        turns = [json.loads(line) for line in (tmp_path / f"rollouts/{step + 1}.jsonl").open()]
        real = [turn for turn in turns if not turn["uid"].startswith("pad")]
        expected = {sequence.game(step, group).path for group in range(GROUPS)}
        assert {turn["gts"] for turn in real} == expected
        # A random model wins nothing: every episode has all its turns, and each turn is a row.
        assert len(real) == GROUPS * EPISODES * 3
        assert len({turn["uid"].rpartition("_")[0] for turn in real}) == GROUPS * EPISODES
        assert row["episode/turns_mean"] == 3
        assert row["episode/success_frac"] == row["env/episode_failed_count"] == 0
        assert row["episode/turn_malformed_frac"] == 1
        assert row["episode/return_mean"] == pytest.approx(-0.3)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["success_after"] == 0
    assert summary["num_heldout"] == 6
