"""The evaluation of an agent, as a user starts it: Ray, environment workers and vLLM."""

import json
import sys

import pytest
import torch

from data_prep.tiny_model import save, tiny_qwen2
from tests.alfworld_games import OFFICIAL, generated_games, needs_alfworld, unpack_official
from tests.e2e.conftest import launch

__all__ = ["generated_games"]

pytestmark = [pytest.mark.e2e, needs_alfworld]


def evaluate(out, games, *options):
    command = [sys.executable, "-m", "recipe.holderpo.evaluate", "alfworld", "--games", str(games)]
    status, output = launch([*command, "--out", str(out), *map(str, options)])
    assert status == 0, output
    lines = (out / "episodes.jsonl").read_text().splitlines()
    episodes = sorted(map(json.loads, lines), key=lambda one: (one["pass"], one["game"]))
    return episodes, output


def test_the_expert_wins_official_games_in_the_environment_workers(tmp_path):
    folder = unpack_official("valid_seen", OFFICIAL.values(), tmp_path / "games")
    options = ["--policy", "expert", "--split", "valid_seen", "--max-steps", 150]
    episodes, output = evaluate(tmp_path / "out", folder.parents[1], *options)
    assert len(episodes) == len(OFFICIAL)
    assert all(one["won"] and one["outcome"] == "won" for one in episodes)
    assert "/success 100.0 %" in output.splitlines()[-1]
    assert "valid_seen_10_of_140@" in output.splitlines()[-1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """It writes noise, another for each prompt."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save(folder, tiny_qwen2(max_tokens=4096))
    return folder


def test_a_greedy_model_plays_the_same_episodes_however_many_side_by_side(
    tmp_path, generated_games, model
):
    games = next(iter(generated_games.values())).parents[3]
    options = ["--policy", model, "--split", "train", "--max-steps", 3, "--max-tokens", 12]
    played, told = [], []
    for number in (1, 7, 64):
        out = tmp_path / str(number)
        episodes, _ = evaluate(out, games, *options, "--passes", 2, "--side-by-side", number)
        played.append(episodes)
        lines = (out / "transcripts.jsonl").read_text().splitlines()
        told.append(sorted(lines))
    assert played[0] == played[1] == played[2]
    assert told[0] == told[1] == told[2]
    assert len(played[0]) == 12
    assert {one["outcome"] for one in played[0]} == {"step_limit"}
    assert sum(one["malformed"] for one in played[0]) == 36
