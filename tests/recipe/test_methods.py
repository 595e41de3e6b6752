"""configs/method: each file is the method it is named after, on the same trainer and data."""

import asyncio
import copy
import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.config import omega_conf_to_dataclass

from holderpo.control import build_controller
from recipe.holderpo.advantage import AdvantageCall, advantage_call, compute_holder_advantage
from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.checks.turn_settings import turn_problems
from recipe.holderpo.main import config_dir
from recipe.holderpo.policy_loss import LossCall, loss_call
from recipe.holderpo.sections import advantage_settings, plain
from tests.recipe import composing
from tests.recipe.data_files import write_data
from tests.recipe.test_policy_loss import assert_equal, rows

ACTOR = "actor_rollout_ref.actor"
LOSS = f"{ACTOR}.policy_loss"
BUFFER = "reward.reward_kwargs.overlong_buffer_cfg"
# What a method asks the experiment for: here, what fits the demo.
NEEDS = {"dapo_overlong": ["data.max_response_length=22", f"{BUFFER}.len=4"]}
# verl's `vanilla` has a dual clip that cannot be switched off; this far away no ratio reaches it.
NO_DUAL_CLIP = f"{ACTOR}.clip_ratio_c=1e9"

METHODS = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
# Of experiments with an agent.
OF_TURNS = ("gigpo", "gigpo_code", "holder_step")
OURS = [name for name in METHODS if not name.startswith(("verl_", "dapo", "dr_grpo"))]


@pytest.fixture(scope="module")
def existing_files(tmp_path_factory):
    """Points a configuration to files that exist, so that only its method is checked."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)

    def point(config):
        config = copy.deepcopy(config)
        config.data.train_files = str(folder / "train.parquet")
        config.data.val_files = str(folder / "heldout.parquet")
        config.actor_rollout_ref.model.path = str(folder / "model")
        return config

    return point


@functools.cache
def compose_demo(overrides):
    return composing.composed("demo", overrides)


def composed(method, overrides=()):
    """The demo with a method; shared between tests, which leave it as it is."""
    needed = (f"+method={method}", *NEEDS.get(method, ()), *overrides)
    return compose_demo(needed)


@pytest.fixture(scope="module")
def order_of(tmp_path_factory):
    """The section `p` of overrides, composed with the groups `method` and `p` alone."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "bare.yaml").write_text("defaults: [{p: linear}, _self_]")
    ours = f"hydra.searchpath=[file://{config_dir()}]"
    return lambda *overrides: composing.by_hydra("bare", (ours, *overrides), folder).p


@pytest.mark.parametrize("method", [name for name in METHODS if name not in OF_TURNS])
def test_every_method_passes_the_checks(method, existing_files):
    config = existing_files(composed(method))
    assert check_config(config).lines
    loss_mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    assert (loss_mode == "holder") == (method in OURS)


@pytest.mark.parametrize("method", OF_TURNS)
def test_credit_by_step_needs_an_agent_and_is_otherwise_a_known_loss(method, existing_files):
    config = existing_files(composed(method))
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    fields = [line.partition(":")[0] for line in caught.value.problems]
    assert fields == ["advantage.unit"] * (method == "gigpo_code") + ["advantage.step_weight"]
    config = composing.composed("alfworld_qwen25_1_5b", [f"+method={method}"])
    assert list(turn_problems(config)) == []
    advantage = advantage_settings(config)
    assert (advantage.step_weight, advantage.step_discount) == (1, 0.95)
    assert advantage.unit == ("turn" if method == "gigpo_code" else "episode")
    known = "linear" if method == "holder_step" else "grpo"
    same_as = composing.composed("alfworld_qwen25_1_5b", [f"+method={known}"])
    assert config.actor_rollout_ref == same_as.actor_rollout_ref
    assert config.p == same_as.p


@pytest.mark.parametrize("method", METHODS)
def test_trainer_data_and_estimator_are_those_of_the_experiment(method):
    """What is compared differs in the method alone."""
    plain = OmegaConf.to_container(composed(method), resolve=True)
    of_data = tuple(need for need in NEEDS.get(method, ()) if need.startswith("data."))
    base = OmegaConf.to_container(compose_demo(of_data), resolve=True)
    for section in ("data", "trainer", "seed", "device"):
        assert plain[section] == base[section]
    assert plain["actor_rollout_ref"]["rollout"] == base["actor_rollout_ref"]["rollout"]
    assert plain["algorithm"]["adv_estimator"] == "holder"


@pytest.mark.parametrize("method", ["grpo", "gspo", "linear", "linear_asc", "sign_matched", "pmpo"])
def test_any_rule_for_p_can_be_put_into_a_method(method, order_of):
    chosen = f"+method={method}"
    assert order_of(chosen) == composed(method).p
    for path in (config_dir() / "p").glob("*.yaml"):
        rule = f"p={path.stem}"
        assert order_of(chosen, rule) == order_of(rule)
    if method == "sign_matched":
        side = order_of(chosen, "p@p.negative=linear").negative
        assert side == order_of("p=linear")


def test_the_buffer_of_the_overlong_punishment_has_to_be_given():
    with pytest.raises(ConfigError) as caught:
        check_config(compose_demo(("+method=dapo_overlong",)))
    assert caught.value.problems == [f"{BUFFER}.len: not set; give it a value"]


def loss_and_gradient(method, data, overrides=(), splits=1):
    """Value and gradient of an update of the first round.

    The actor's settings are built as the worker does, the order as the driver does, and
    micro-batches are added up as verl's actor does.
    """
    settings = composed(method, overrides)
    config = omega_conf_to_dataclass(settings.actor_rollout_ref.actor)
    order = build_controller(plain(settings.p), num_rounds=45).order(0)
    function = get_policy_loss_fn(config.policy_loss.loss_mode)
    leaf = data["log_prob"].clone().requires_grad_()
    config.global_batch_info.update(
        dp_size=1,
        global_batch_size=len(leaf),
        batch_num_tokens=data["response_mask"].sum(),
        loss_scale_factor=config.loss_scale_factor,
    )
    total = 0.0
    for chunk in torch.arange(len(leaf)).chunk(splits):
        # verl pads a micro-batch to its own longest response.
        width = int(data["response_mask"][chunk].sum(-1).max())
        part = {name: value[chunk, :width] for name, value in data.items()}
        with loss_call(LossCall(order=order)):
            loss, _ = function(
                **{**part, "log_prob": leaf[chunk, :width]},
                loss_agg_mode=config.loss_agg_mode,
                config=config,
            )
        loss.backward()
        total += loss.item()
    return total, leaf.grad


def small_rows(seed, scale=1.0):
    """Ratios near 1, so that narrow clip ranges hold some responses and not all."""
    data = rows(seed=seed)
    data["log_prob"] = data["old_log_prob"] + scale * (data["log_prob"] - data["old_log_prob"])
    return data


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("ours", "theirs", "our_overrides", "their_overrides", "scale"),
    [
        ("grpo", "verl_vanilla", [], [NO_DUAL_CLIP], 1.0),
        ("grpo", "verl_vanilla", [f"{LOSS}.dual_clip=3"], [], 1.0),
        ("clip_higher", "verl_vanilla", [], [f"{ACTOR}.clip_ratio_high=0.28", NO_DUAL_CLIP], 1.0),
        ("gspo", "verl_gspo", [], [], 1e-3),
        ("gmpo", "verl_geo_mean", [], [], 1.0),
    ],
)
def test_our_loss_equals_verls(ours, theirs, our_overrides, their_overrides, scale, seed):
    data = small_rows(seed, scale)
    expected = loss_and_gradient(theirs, data, their_overrides)
    assert_equal(loss_and_gradient(ours, data, our_overrides), expected)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("splits", [2, 24])
def test_our_methods_do_not_depend_on_micro_batches(ours, splits):
    data = small_rows(0, 0.1)
    whole = loss_and_gradient(ours, data)
    parts = loss_and_gradient(ours, data, splits=splits)
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-12, atol=0)


def test_sign_matched_is_static_minus_q_for_good_responses_and_plus_q_for_bad_ones():
    data = small_rows(0, 0.1)
    is_good = data["advantages"][:, 0] > 0
    both = loss_and_gradient("sign_matched", data)[1]
    for rows_of_sign, value in ((is_good, -2), (~is_good, 2)):
        alone = loss_and_gradient("static", data, [f"p.value={value}"])[1]
        torch.testing.assert_close(both[rows_of_sign], alone[rows_of_sign], rtol=1e-12, atol=0)
    assert is_good.any()
    assert not is_good.all()


@pytest.mark.parametrize(("spread", "same_as"), [(0.01, "grpo"), (1.0, "gmpo")])
def test_pmpo_is_grpo_with_every_token_inside_the_clip_range_and_gmpo_with_many_outside(
    spread, same_as
):
    data = small_rows(0)
    inside = (data["log_prob"] - data["old_log_prob"]).sign() * spread
    data["log_prob"] = data["old_log_prob"] + inside
    pmpo = loss_and_gradient("pmpo", data)
    expected = loss_and_gradient(same_as, data, [f"{LOSS}.clip_log_ratio=0.4"])
    assert pmpo[0] == pytest.approx(expected[0], rel=1e-12)
    torch.testing.assert_close(pmpo[1], expected[1], rtol=1e-12, atol=0)


def ppo_terms(data, low, high, dual_clip=torch.inf):
    """max(-r A, -clip(r) A) of each token, held at -dual_clip A where A < 0, 0 in the padding."""
    log_prob = data["log_prob"].clone().requires_grad_()
    ratio, advantages = (log_prob - data["old_log_prob"]).exp(), data["advantages"]
    terms = -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    held = torch.where(advantages < 0, terms.clamp(max=dual_clip * advantages.abs()), terms)
    return log_prob, torch.where(data["response_mask"], held, 0)


@pytest.mark.parametrize("splits", [1, 4])
def test_dr_grpo_divides_by_a_constant_and_not_by_lengths(splits):
    """verl adds up in the dtype of its mask, float32, hence the tolerance."""
    data = rows()
    log_prob, terms = ppo_terms(data, 0.2, 0.2)
    expected = terms.sum() / (24 * 18)
    expected.backward()
    value, gradient = loss_and_gradient("dr_grpo", data, splits=splits)
    assert value == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient, log_prob.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("method", ["dapo", "dapo_overlong"])
def test_dapo_is_a_mean_over_all_tokens_with_the_higher_clip(method, splits):
    data = small_rows(0, 2.0)
    log_prob, terms = ppo_terms(data, 0.2, 0.28, dual_clip=10.0)
    expected = terms.sum() / data["response_mask"].sum()
    expected.backward()
    value, gradient = loss_and_gradient(method, data, splits=splits)
    assert value == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient, log_prob.grad, rtol=1e-6, atol=1e-12)


def test_sapo_gates_and_cispo_weighs_by_the_settings_of_their_files():
    data = rows()
    ratio, advantages = (data["log_prob"] - data["old_log_prob"]).exp(), data["advantages"]
    mask = data["response_mask"]
    tau = torch.where(advantages > 0, 1.0, 1.05).double()
    gate = torch.sigmoid(tau * (ratio - 1))
    # The derivative of 4 / tau sigmoid(tau (r - 1)), which is 1 at r = 1.
    sapo = -advantages * 4 * gate * (1 - gate) * ratio * mask / mask.sum(-1, keepdim=True) / 24
    torch.testing.assert_close(loss_and_gradient("verl_sapo", data)[1], sapo, rtol=1e-6, atol=1e-9)
    cispo = -advantages * ratio.clamp(max=1.2) * mask / mask.sum()
    torch.testing.assert_close(
        loss_and_gradient("verl_cispo", data)[1], cispo, rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_advantages_equal_those_of_verls_grpo_estimator(method):
    config = composed(method)
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(6) < torch.randint(1, 7, (32, 1), generator=generator)).long()
    rewards = torch.rand(32, 6, generator=generator) * mask
    index = np.array([f"prompt {i % 4}" for i in range(32)], dtype=object)
    call = AdvantageCall(advantage_settings(config), max_response_tokens=6)
    with advantage_call(call):
        ours, _ = compute_holder_advantage(rewards, mask, index)
    theirs, _ = get_adv_estimator_fn("grpo")(
        rewards.clone(),
        mask,
        index,
        norm_adv_by_std_in_grpo=config.algorithm.norm_adv_by_std_in_grpo,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    by_hand = rewards.sum(-1) - torch.stack([rewards[i::4].sum(-1).mean() for i in range(4)] * 8)
    unscaled = torch.allclose(ours, by_hand.unsqueeze(-1) * mask, atol=1e-5)
    assert unscaled == (method == "dr_grpo")


@pytest.mark.parametrize("method", METHODS)
def test_dynamic_sampling_reaches_verls_replay_buffer_for_dapo_alone(method):
    """Built by verl's own trainer code, without a trainer."""
    config = composed(method)
    trainer = SimpleNamespace(
        config=config, trainer_mode="sync", _add_prompts_to_generate=lambda count: count
    )
    trainer._resolve_filter_groups_metric = lambda: PPOTrainer._resolve_filter_groups_metric(
        trainer
    )
    buffer = PPOTrainer._build_replay_buffer(trainer)
    assert type(buffer) is ReplayBuffer
    assert buffer.filter_groups_metric == ("acc" if method.startswith("dapo") else None)
    assert buffer.max_inflight_gen_batches == 1


def response_of(num_tokens):
    """What a rollout worker hands to the reward manager for one response of the answer "7"."""
    prompt, response = torch.ones(1, 3, dtype=torch.long), torch.ones(1, num_tokens).long()
    return DataProto(
        batch=TensorDict(
            {
                "prompts": prompt,
                "responses": response,
                "attention_mask": torch.ones(1, 3 + num_tokens, dtype=torch.long),
            },
            batch_size=1,
        ),
        non_tensor_batch={
            "data_source": np.array(["columns"]),
            "reward_model": np.array([{"ground_truth": "7"}], dtype=object),
        },
    )


@pytest.mark.parametrize("method", ["dapo", "dapo_overlong"])
def test_overlong_punishment_takes_effect_and_leaves_acc_alone(method, tmp_path):
    """Through verl's reward manager with our reward function; 22 tokens at most, 4 of them buffer.

    The decoded answer is right whatever the length.
    """

    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    config = composed(method, (f"actor_rollout_ref.model.path={tmp_path}",))

    async def score(lengths):
        tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "7", eos_token_id=None)
        manager = load_reward_manager(config, tokenizer)
        return [await manager.run_single(response_of(length)) for length in lengths]

    results = asyncio.run(score([5, 18, 19, 20, 21, 22]))
    rewards = [float(result["reward_score"]) for result in results]
    is_punished = method == "dapo_overlong"
    assert rewards == ([1, 1, 0.75, 0.5, 0.25, 0] if is_punished else [1] * 6)
    assert [result["reward_extra_info"]["acc"] for result in results] == [1] * 6
