"""Scripted responses, as tokens, through verl's own reward worker: what each is worth and why."""

import asyncio
import inspect
import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from tensordict import TensorDict
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.protocol import DataProto
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from data_prep.tiny_model import END_ID, ascii_tokenizer
from holderpo.rewards.truncation import TruncationSettings
from holderpo.studies import held_out
from recipe.holderpo.advantage import AdvantageCall, advantage_call, compute_holder_advantage
from recipe.holderpo.main import config_dir
from recipe.holderpo.reward_extras import reward_shares, truncated_rows
from recipe.holderpo.reward_manager import end_tokens
from recipe.holderpo.sections import advantage_settings, truncation_settings

MAX_TOKENS = 64
OTHER_END_ID = ord("~")
ZERO = "reward.reward_kwargs.truncated=zero"
VERLS_OWN = "reward.reward_manager.name=naive"
KEYS = {"score", "acc", "no_answer", "unparseable", "timeout", "error"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tokenizer and a second end token in the generation configuration."""
    folder = tmp_path_factory.mktemp("model")
    ascii_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [END_ID, OTHER_END_ID]})
    )
    return folder


def composed(*overrides):
    with initialize_config_dir(config_dir=str(config_dir()), version_base=None):
        return compose(
            config_name="gsm8k_smoke",
            overrides=[f"data.max_response_length={MAX_TOKENS}", *overrides],
        )


def row(text, gold, *, end=END_ID, prompt="1+1=?"):
    """What verl's agent loop hands to a reward worker for one response."""
    prompts = torch.tensor([[ord(character) for character in prompt]])
    ended = [] if end is None else [end]
    responses = torch.tensor([[ord(character) for character in text] + ended])
    tokens = torch.cat([prompts, responses], dim=1)
    batch = TensorDict(
        {
            "prompts": prompts,
            "responses": responses,
            "attention_mask": torch.ones_like(tokens),
            "input_ids": tokens,
            "position_ids": torch.arange(tokens.shape[1])[None],
        },
        batch_size=1,
    )
    columns = {
        "data_source": "math500",
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": {"index": 0},
        "__num_turns__": 2,
        "tool_extra_fields": {},
    }
    non_tensors = {}
    for name, value in columns.items():
        non_tensors[name] = np.empty(1, dtype=object)
        non_tensors[name][0] = value
    return DataProto(batch=batch, non_tensor_batch=non_tensors)


def score(rows, model, *overrides):
    """One reward worker, all rows at once."""
    config = composed(f"actor_rollout_ref.model.path={model}", *overrides)

    async def run():
        worker = RewardLoopWorker(config)
        return await asyncio.gather(*(worker.compute_score(one) for one in rows))

    return asyncio.run(run())


def full(text):
    """A text that fills the whole length without an end token."""
    return text.rjust(MAX_TOKENS, " ")


def test_right_wrong_truncated_and_stuck_responses_side_by_side(model):
    gold = np.array(["\\frac{1}{2}", "0.5"], dtype=object)
    rows = [
        row("so \\boxed{0.5}", gold),
        row("so \\boxed{\\frac{\\sqrt{4}}{4}}", gold),
        row("so \\boxed{\\frac{\\sqrt{9}}{4}}", gold),
        row("so 0.5", gold),
        row("\\boxed{\\prod_{n=1}^{10^7} n}", gold),
        row(full("\\boxed{0.5}"), gold, end=None),
        row(full("\\boxed{0.5}")[1:], gold),
        row(full("\\boxed{0.5}")[1:], gold, end=OTHER_END_ID),
        row("\\boxed{0.5}", None),
    ]
    with pytest.warns(RuntimeWarning, match="not graded"):
        results = score(rows, model, ZERO)
    assert [result["reward_score"] for result in results] == [1, 1, 0, 0, 0, 0, 1, 1, 0]
    extras = [result["reward_extra_info"] for result in results]
    assert all(set(extra) == KEYS | {"truncated"} for extra in extras)
    assert [extra["acc"] for extra in extras] == [1, 1, 0, 0, 0, 0, 1, 1, 0]
    said = [
        [key for key in ("no_answer", "timeout", "error", "truncated") if extra[key]]
        for extra in extras
    ]
    assert said == [[], [], [], ["no_answer"], ["timeout"], ["truncated"], [], [], ["error"]]


def test_verls_own_manager_takes_a_truncated_box_for_an_answer(model):
    cut, right = row(full("\\boxed{0.5}"), ["0.5"], end=None), row("\\boxed{0.5}", ["0.5"])
    results = score([cut, right], model, VERLS_OWN)
    assert [result["reward_score"] for result in results] == [1, 1]
    assert set(results[0]["reward_extra_info"]) == KEYS


def test_a_full_context_truncates_too(model):
    rows = [row("\\boxed{5}", ["5"], end=end, prompt="x" * 31) for end in (None, END_ID)]
    overrides = [ZERO, "actor_rollout_ref.rollout.max_model_len=40"]
    assert [result["reward_score"] for result in score(rows, model, *overrides)] == [0, 1]


def test_the_soft_penalty_grows_over_the_buffer_and_leaves_the_accuracy_alone(model):
    rows = [
        row(text, ["5"], end=end)
        for text, end in [
            ("\\boxed{5}", END_ID),
            ("\\boxed{5}".rjust(MAX_TOKENS - 9), END_ID),
            (full("\\boxed{5}"), None),
        ]
    ]
    overrides = ["reward.reward_kwargs.truncated=soft"]
    results = score(rows, model, *overrides, "+reward.reward_kwargs.buffer_tokens=16")
    assert [result["reward_score"] for result in results] == [1.0, 0.5, 0.0]
    assert [result["reward_extra_info"]["score"] for result in results] == [1.0, 0.5, 0.0]
    assert [result["reward_extra_info"]["acc"] for result in results] == [1, 1, 1]
    assert [result["reward_extra_info"]["truncated"] for result in results] == [0, 0, 1]


def test_a_mask_is_reward_0_and_the_transform_that_drops_truncated_responses(model):
    mask = ["reward.reward_kwargs.truncated=mask"]
    (result,) = score([row(full("\\boxed{5}"), ["5"], end=None)], model, *mask)
    assert result["reward_score"] == 0
    assert list(advantage_settings(composed(*mask)).transforms) == [{"name": "drop_truncated"}]
    assert list(advantage_settings(composed()).transforms) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm.adv_estimator=grpo"], "'mask' with algorithm.adv_estimator 'grpo'"),
        (
            [VERLS_OWN],
            "not read by reward.reward_manager.name 'naive'; give TruncationRewardManager",
        ),
    ],
)
def test_a_mask_that_would_do_nothing_is_refused(overrides, message):
    with pytest.raises(ValueError, match=rf"reward\.reward_kwargs\.truncated: {message}"):
        advantage_settings(composed("reward.reward_kwargs.truncated=mask", *overrides))


def test_end_tokens_are_those_at_which_vllm_stops(model, tmp_path):
    assert end_tokens(ascii_tokenizer(), str(model)) == {END_ID, OTHER_END_ID}
    # Without a generation configuration the model's own counts.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "eos_token_id": 7}))
    assert end_tokens(ascii_tokenizer(), str(tmp_path)) == {END_ID, 7}


def test_masked_responses_have_no_part_in_the_update_and_keep_their_place_in_the_group(model):
    """From the reward worker's word to the advantages, which the loss multiplies."""
    rows = [
        row("\\boxed{5}", ["5"]),
        row("\\boxed{6}", ["5"]),
        row(full("\\boxed{5}"), ["5"], end=None),
        row(full("\\boxed{5}")[1:], ["5"]),
    ]
    mask = ["reward.reward_kwargs.truncated=mask"]
    results = score(rows, model, *mask)
    lengths = torch.tensor([one.batch["responses"].shape[-1] for one in rows])
    response_mask = (torch.arange(MAX_TOKENS) < lengths[:, None]).float()
    rewards = torch.zeros_like(response_mask)
    rewards[:, 0] = torch.tensor([result["reward_score"] for result in results])
    assert rewards.sum(-1).tolist() == [1, 0, 0, 1]
    truncated = truncated_rows([result["reward_extra_info"] for result in results])
    call = AdvantageCall(advantage_settings(composed(*mask)), MAX_TOKENS, truncated)
    with advantage_call(call):
        advantages, _ = compute_holder_advantage(rewards, response_mask, np.array(["a"] * 4))
    # The mean is 1/2 and the deviation 3**-0.5, the masked response's 0 among them.
    expected = torch.tensor([0.5, -0.5, 0.0, 0.5]) * 3**0.5
    torch.testing.assert_close(advantages[:, 0], expected, atol=1e-4, rtol=0)
    # It has a full length too, and its end.
    assert lengths[2] == lengths[3] == MAX_TOKENS


def test_the_file_may_be_loaded_under_another_name_and_the_function_stays_a_coroutine(model):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    import holderpo.rewards.math as module

    config = composed(f"reward.custom_reward_function.path={module.__file__}")
    function = get_custom_reward_fn(config)
    assert inspect.iscoroutinefunction(function)
    call = {"data_source": "x", "solution_str": "\\boxed{\\sqrt{4}}", "ground_truth": ["2"]}
    assert asyncio.run(function(**call, extra_info={}, more=1))["score"] == 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"truncated": "drop"}, "truncated: 'drop'; give one of grade, zero, mask, soft"),
        ({"truncated": "soft"}, "buffer_tokens: None; 'soft' needs a number"),
        ({"truncated": "soft", "buffer_tokens": 0}, "buffer_tokens: 0; 'soft' needs a number"),
        ({"truncated": "soft", "buffer_tokens": 8, "penalty": 0}, "penalty: 0; give a number"),
        ({"truncated": "soft", "buffer_tokens": 65}, "buffer_tokens: 65; give at most"),
        ({"buffer_tokens": 8}, "do nothing with truncated 'grade'"),
        ({"max_resp_len": 8}, "max_resp_len; give only truncated, buffer_tokens, penalty"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_field_and_fix(section, message):
    overrides = [f"++reward.reward_kwargs.{key}={value}" for key, value in section.items()]
    with pytest.raises(ValueError, match=f"reward.reward_kwargs.*{message}"):
        truncation_settings(composed(*overrides))


def test_the_default_changes_no_reward_and_that_of_mathematics_is_the_papers_rule():
    assert truncation_settings(composed()) == TruncationSettings(truncated="grade")
    assert TruncationSettings() == TruncationSettings(truncated="zero")


def test_a_truncated_response_is_known_and_graded_like_any_other_by_default(model):
    """On the demo every right answer fills the limit, its end token included."""
    digits = "13 15 08 08 11 09"
    config = ["reward.custom_reward_function.path=pkg://holderpo.rewards.exact_match"]
    config += [f"data.max_response_length={len(digits) + 1}"]
    rows = [row(digits, digits), row(digits + " ", digits, end=None), row("1" * 18, "1", end=None)]
    results = score(rows, model, *config)
    extras = [result["reward_extra_info"] for result in results]
    assert [one.batch["responses"].shape[-1] for one in rows] == [18, 18, 18]
    assert [extra["truncated"] for extra in extras] == [0, 1, 1]
    assert [result["reward_score"] for result in results] == [1, 1, 0]
    assert [extra["acc"] for extra in extras] == [1, 1, 0]
    own = score(rows, model, VERLS_OWN, *config)
    assert [one["reward_score"] for one in own] == [one["reward_score"] for one in results]


def test_the_share_of_truncated_held_out_responses_is_read_as_verl_names_it():
    extras = {"acc": [1.0, 0.0, 1.0, 1.0], "truncated": [0.0, 1.0, 1.0, 0.0]}
    trainer = PPOTrainerSync.__new__(PPOTrainerSync)
    metrics = trainer._val_metrics_update(
        ["a/b", "a/b", "c", "c"], ["1", "2", "3", "3"], extras, sample_turns=[]
    )
    assert held_out.accuracies(metrics) == {"a/b": 0.5, "c": 1.0}
    assert held_out.truncated_shares(metrics) == {"a/b": 0.5, "c": 0.5}
    assert held_out.truncated_share(metrics) == 0.5


def test_shares_leave_out_padding_and_what_the_reward_does_not_say():
    extras = [
        {"no_answer": 1.0, "timeout": 0.0},
        {"no_answer": 0.0, "timeout": 0.0},
        {"no_answer": 1.0, "timeout": 1.0},
    ]
    tags = [{}, {"is_padding": False}, {"is_padding": True}]
    expected = {"reward/no_answer_frac": 0.5, "reward/timeout_frac": 0.0}
    assert reward_shares(extras, tags) == expected
    assert reward_shares([{}], [{}]) == {}
    assert truncated_rows(extras) is None
    assert truncated_rows([{"truncated": 1.0}, {"truncated": 0.0}]).tolist() == [True, False]
