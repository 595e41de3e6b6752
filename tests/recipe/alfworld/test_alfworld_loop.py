"""The agent loop, playing real games in this process; a script answers for the model."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from data_prep.tiny_model import END_ID, ascii_tokenizer, save, tiny_qwen2
from holderpo.alfworld.agent_memory import AgentMemory
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.turn_prompt import TurnPromptSettings
from recipe.holderpo.alfworld.alfworld_loop import AlfworldLoop
from recipe.holderpo.alfworld.environment_group import EnvironmentGroup
from tests.alfworld_games import generated_games, needs_alfworld  # noqa: F401
from tests.recipe.evaluate.alfworld.in_process import InProcessGroup

pytestmark = needs_alfworld
TYPE = "pick_clean_then_place_in_recep"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, tiny_qwen2(max_tokens=64))
    return folder


@pytest.fixture
def game(generated_games):  # noqa: F811
    return generated_games[TYPE]


@pytest.fixture
def plan(game):
    """The commands that win the game."""
    return json.loads(game.read_text())["walkthrough"]


def response(command):
    return f"<think></think><action>{command}</action>"


class Rollout:
    """An agent loop as verl makes it, and everything it asked the model."""

    def __init__(self, monkeypatch, model, group, answers, *, agent=None, **rollout):
        self.answers, self.asked = answers, []
        monkeypatch.setattr(EnvironmentGroup, "of_this_job", lambda settings: group)
        sizes = {"prompt_length": 4000, "response_length": 64, "max_model_len": None}
        config = OmegaConf.create(
            {
                "agent": agent or {},
                "data": {},
                "actor_rollout_ref": {
                    "rollout": sizes | {"calculate_log_probs": False} | rollout,
                    "model": {"path": str(model), "trust_remote_code": False},
                },
            }
        )
        self.loop = AlfworldLoop(
            trainer_config=DictConfigWrap(config=config),
            server_manager=SimpleNamespace(generate=self.generate),
            tokenizer=ascii_tokenizer(),
            processor=None,
            hf_model_type="qwen2",
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(config.data),
        )

    async def generate(self, request_id, prompt_ids, sampling_params):
        self.asked.append((request_id, prompt_ids, sampling_params))
        text = self.answers[len(self.asked) - 1]
        if isinstance(text, Exception):
            raise text
        if text is None:
            await asyncio.sleep(60)
        tokens = [ord(character) for character in text] + [END_ID]
        return TokenOutput(token_ids=tokens[: sampling_params["max_tokens"]], log_probs=None)

    def run(self, game):
        row = {"game_file": str(game), "game": "train/one", "task_type": "clean", "index": 3}
        return asyncio.run(
            self.loop.run({}, uid="abc", session_id=2, global_steps=5, raw_prompt=[], **row)
        )


def test_an_episode_is_a_row_for_each_turn(monkeypatch, model, game, plan):
    group = InProcessGroup()
    rollout = Rollout(monkeypatch, model, group, [response(command) for command in plan])
    rows = rollout.run(game)
    assert len(rows) == len(plan)
    assert group.open == 0, "the episode's slot is free again"

    # The same game, played without an agent loop.
    episode, memory = Episode(game), AgentMemory(TurnPromptSettings())
    turn = episode.reset()
    for row, command in zip(rows, plan, strict=True):
        text = memory.message(turn)
        assert row.prompt_ids == [ord(character) for character in text]
        assert row.response_ids == [*map(ord, response(command)), END_ID]
        assert row.response_mask == [1] * len(row.response_ids)
        assert row.extra_fields["turn"]["anchor"] == turn.observation
        memory.add(turn, command)
        turn = episode.step(command)
    assert turn.won

    assert [row.extra_fields["turn"]["reward"] for row in rows] == [0.0] * (len(plan) - 1) + [10.0]
    assert {row.reward_score for row in rows} == {10.0}
    assert rows[0].extra_fields["episode"] == {
        "return": 10.0,
        "game": "train/one",
        "task_type": "clean",
        "outcome": "won",
        "num_turns": len(plan),
        "num_restarts": 0,
    }
    assert all(row.extra_fields["episode"] == rows[0].extra_fields["episode"] for row in rows)
    assert rows[-1].extra_fields["reward_extra_info"] == {"acc": 1.0}
    # No more tokens than a response may have, however short the prompt.
    assert {asked[2]["max_tokens"] for asked in rollout.asked} == {64}
    assert len({asked[0] for asked in rollout.asked}) == len(plan)


def test_penalties_are_of_their_turn_and_of_the_return(monkeypatch, model, game, plan):
    answers = ["look", response("dance"), *(response(command) for command in plan)]
    reward = {"malformed_penalty": 0.5, "inadmissible_penalty": 0.25}
    agent = {"reward": reward}
    rows = Rollout(monkeypatch, model, InProcessGroup(), answers, agent=agent).run(game)
    turns = [row.extra_fields["turn"] for row in rows]
    assert [turn["kind"] for turn in turns[:3]] == ["malformed", "inadmissible", "valid"]
    assert [turn["penalty"] for turn in turns[:3]] == [0.5, 0.25, 0.0]
    assert {row.reward_score for row in rows} == {9.25}
    assert rows[0].extra_fields["episode"]["return"] == 9.25


def test_an_episode_ends_at_its_limit_of_steps(monkeypatch, model, game):
    answers = [response("look")] * 5
    rows = Rollout(monkeypatch, model, InProcessGroup(), answers, agent={"max_steps": 3}).run(game)
    assert len(rows) == 3
    assert rows[0].extra_fields["episode"]["outcome"] == "step_limit"
    assert {row.reward_score for row in rows} == {0.0}
    assert rows[-1].extra_fields["reward_extra_info"] == {"acc": 0.0}


def test_a_response_that_is_cut_off_is_said_to_be(monkeypatch, model, game):
    answers = [response("look") + "." * 100, response("look"), "x" * 63]
    rows = Rollout(monkeypatch, model, InProcessGroup(), answers, agent={"max_steps": 3}).run(game)
    assert [row.extra_fields["turn"]["truncated"] for row in rows] == [True, False, False]
    assert [len(row.response_ids) for row in rows][::2] == [64, 64]


def test_a_turn_without_room_ends_the_episode(monkeypatch, model, game):
    group = InProcessGroup()
    episode = Episode(game)
    first = len(AgentMemory(TurnPromptSettings()).message(episode.reset()))
    # What the second message tells of the first turn does not fit.
    rollout = Rollout(monkeypatch, model, group, [response("look")] * 9, prompt_length=first)
    rows = rollout.run(game)
    assert len(rows) == 1
    assert rows[0].extra_fields["episode"]["outcome"] == "length"
    assert rows[0].reward_score == 0.0


def test_the_context_of_the_model_limits_prompts_too(monkeypatch, model, game, caplog):
    rollout = Rollout(monkeypatch, model, InProcessGroup(), [], max_model_len=100)
    assert rollout.run(game) == []
    line = "prompt abc, episode 2, game train/one: failed after 0 turns: its first prompt has more"
    assert f"{line} than 36 tokens" in caplog.text


def test_a_failed_episode_leaves_no_row(monkeypatch, model, game, caplog):
    group = InProcessGroup(broken=[game], fails_at=2)
    assert Rollout(monkeypatch, model, group, [response("look")] * 5).run(game) == []
    assert f"prompt abc, episode 2, game train/one: failed after 2 turns: {game}" in caplog.text
    assert group.open == 0


def test_a_failed_episode_can_count_as_zero(monkeypatch, model, game):
    group = InProcessGroup(broken=[game], fails_at=2)
    agent = {"failed_episodes": "zero"}
    rows = Rollout(monkeypatch, model, group, ["malformed"] * 5, agent=agent).run(game)
    assert len(rows) == 2
    assert {row.reward_score for row in rows} == {0.0}
    assert [row.extra_fields["turn"]["penalty"] for row in rows] == [0.0, 0.0]
    assert rows[0].extra_fields["episode"]["outcome"] == "failed"
    assert rows[0].extra_fields["episode"]["num_restarts"] == 2


def test_one_that_failed_before_its_first_turn_counts_without_tokens(monkeypatch, model, game):
    group = InProcessGroup(broken=[game], fails_at=0)
    agent = {"failed_episodes": "zero"}
    (row,) = Rollout(monkeypatch, model, group, ["malformed"], agent=agent).run(game)
    assert row.response_mask == [0]
    assert row.reward_score == 0.0
    assert row.extra_fields["episode"]["num_turns"] == 0
    fields = row.as_dict()
    # verl makes whole numbers of them, for every row.
    assert fields["extra_fields"]["min_global_steps"] == 4
    assert fields["extra_fields"]["max_global_steps"] == 4
    assert len(fields["prompts"]) == len(fields["responses"]) == len(fields["rm_scores"]) == 1


def test_an_episode_that_does_not_end_meets_its_limit(monkeypatch, model, game, caplog):
    answers = [response("look"), None]
    agent = {"episode_seconds": 2.0}
    group = InProcessGroup()
    assert Rollout(monkeypatch, model, group, answers, agent=agent).run(game) == []
    assert "prompt abc, episode 2, game train/one: failed after 1 turns: not over" in caplog.text
    assert group.open == 0


def test_a_limit_of_something_else_is_not_taken_for_the_episodes(monkeypatch, model, game):
    group = InProcessGroup()
    rollout = Rollout(monkeypatch, model, group, [TimeoutError("of the model's server")])
    with pytest.raises(TimeoutError, match="of the model's server"):
        rollout.run(game)
    assert group.open == 0
