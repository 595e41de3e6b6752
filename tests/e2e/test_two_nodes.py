"""A run on two nodes of a Ray cluster that is up, by hand: `make test-slow`."""

import asyncio
import sys

import numpy as np
import pytest

from holderpo.alfworld.engine_process import EngineSettings
from holderpo.studies.run_files import read_rows
from recipe.holderpo import export
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from tests.alfworld_games import generated_games, needs_alfworld
from tests.e2e.conftest import MAIN, launch
from tests.e2e.ray_nodes import HEAD, WORKER, actors, living_nodes, two_nodes

__all__ = ["generated_games"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PREFLIGHT = [sys.executable, "-m", "recipe.holderpo.preflight"]
# Two vLLM servers start on one machine.
TRAINING_SECONDS = 480
ONE_EACH = ["trainer.nnodes=2", "trainer.n_gpus_per_node=1"]


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as started:
        yield started


def test_the_preflight_finds_both_nodes_alike(nodes, demo_data):
    command = [*PREFLIGHT, "--config-name=demo", *demo_data, *ONE_EACH]
    status, output = launch(command, **nodes.environment)
    assert status == 0, output
    named, *_, alike = [line for line in output.splitlines() if line.startswith("nodes ")]
    assert all(identity[:8] in named for identity in nodes.ask(living_nodes))
    assert alike.startswith("nodes      alike: verl 0.9.1, ")


def test_a_node_that_does_not_join_is_missed_by_preflight_and_run(nodes, demo_data, tmp_path):
    words = [
        *["--config-name=demo", *demo_data, "trainer.nnodes=3", "wait_for_nodes_seconds=2"],
        # Rows of an update that three ranks can share.
        "actor_rollout_ref.rollout.n=6",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16",
    ]
    for command, begin in ((PREFLIGHT, "preflight: "), (MAIN, "failed: ")):
        status, output = launch([*command, *words, f"run_dir={tmp_path}/run"], **nodes.environment)
        assert status == 1, output
        assert f"{begin}trainer.nnodes x trainer.n_gpus_per_node: 3 x 1; 2 of 3 groups" in output
        assert f"{begin}waited 2 s (wait_for_nodes_seconds)" in output


def test_a_wrong_token_is_said_to_be_wrong_and_not_waited_for(nodes, demo_data):
    command = [*PREFLIGHT, "--config-name=demo", *demo_data, *ONE_EACH]
    status, output = launch(command, **nodes.environment | {"RAY_AUTH_TOKEN": "0" * 64})
    assert status == 1, output
    address = nodes.environment["RAY_ADDRESS"]
    assert f"preflight: RAY_ADDRESS: {address}; that Ray cluster asks for its token" in output


def test_a_rank_and_a_vllm_server_on_each_node_train_two_steps(nodes, demo_data, tmp_path):
    command = [
        *[*MAIN, "--config-name=demo", *demo_data, *ONE_EACH, f"run_dir={tmp_path}/run"],
        # So that the first step's weights differ enough for a vLLM server without them to show.
        "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
        "actor_rollout_ref.rollout.calculate_log_probs=true",
        "trainer.total_training_steps=2",
        *["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=2"],
    ]
    status, output = launch(command, TRAINING_SECONDS, **nodes.environment)
    assert status == 0, output[-4000:]
    found = nodes.ask(actors)
    for kind in ("WorkerDict", "vLLMHttpServer"):
        assert sorted(one.address for one in found if one.kind == kind) == [HEAD, WORKER]
    rows = read_rows(tmp_path / "run" / "metrics.jsonl", [])
    assert [(row["step"], row["holder/p"]) for row in rows] == [(1, 2.0), (2, -2.0)]
    for row in rows:
        assert np.isfinite(row["actor/pg_loss"])
        assert row["actor/grad_norm"] > 0
        # A token's probability in the two vLLM servers, beside that in the actor.
        assert row["training/rollout_probs_diff_max"] < 1e-4
    assert rows[0]["holder/log_ratio_max"] > 0.05, "the weights have moved"
    shards = {path.name for path in tmp_path.glob("run/checkpoints/global_step_2/actor/model_*")}
    assert shards == {f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)}
    assert export.main([f"{tmp_path}/run", f"{tmp_path}/out"]) == 0
    # The run is over, the nodes are not: nothing of it stays on either.
    assert all(one.has_ended for one in found)
    assert [one for one in nodes.processes() if "VLLM" in one.name()] == []
    assert set(nodes.ask(living_nodes).values()) == {HEAD, WORKER}


def environments(num_workers, game, cache):
    """The nodes of so many environment workers, and the first turn in each."""
    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup

    engine = EngineSettings(cache_folder=cache)
    group = EnvironmentGroup.start(EnvironmentSettings(num_workers=num_workers, engine=engine))

    async def first_turns():
        return await asyncio.gather(
            *(group.episode(game, key).reset() for key in range(num_workers))
        )

    turns = asyncio.run(first_turns())
    of_workers = [one for one in actors() if one.kind == "EnvironmentWorker" and not one.has_ended]
    return [one.address for one in of_workers], turns


@needs_alfworld
def test_environment_workers_are_spread_over_both_nodes(nodes, generated_games, tmp_path):
    game = next(iter(generated_games.values()))
    places, turns = nodes.ask(environments, 4, game, str(tmp_path))
    assert sorted(places) == [HEAD, HEAD, WORKER, WORKER]
    assert len(turns) == 4
    assert all(turn == turns[0] for turn in turns)
