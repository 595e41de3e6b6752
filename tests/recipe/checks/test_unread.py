"""Settings that nothing reads warn where someone has changed them, and only there."""

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks.defaults import leaves
from recipe.holderpo.checks.unread_table import UNREAD
from tests.docs.pages import text_of
from tests.recipe.checks.checking import ACTOR, ENGINE, FOUR_GPUS, LOSS, ROLLOUT, warnings_of
from tests.recipe.composing import composed

BY_TOKENS = (
    f"{ACTOR}.use_dynamic_bsz=true {ACTOR}.ppo_micro_batch_size_per_gpu=null "
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=null"
)
FIELDS = [field for row in UNREAD for field in row.fields]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_one_of_verl(field):
    config = composed("base")
    if field.endswith("."):
        assert OmegaConf.is_dict(OmegaConf.select(config, field.rstrip(".")))
    else:
        section, _, name = field.rpartition(".")
        assert name in OmegaConf.select(config, section)


def test_no_field_is_listed_twice():
    assert len(set(FIELDS)) == len(FIELDS)


def test_the_page_lists_them_all():
    page = text_of("docs/settings.md")
    missing = [field for field in FIELDS if f"`{field.rstrip('.')}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("trainer.balance_batch=false", "trainer.balance_batch has no effect: verl's V1 trainer"),
        (
            "critic.optim.lr=1e-3 critic.ppo_epochs=2",
            "critic.optim.lr, critic.ppo_epochs have no effect: there is no critic",
        ),
        (f"{ACTOR}.kl_loss_coef=0.1", f"{ACTOR}.kl_loss_coef has no effect: it belongs to "),
        (
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=64",
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu has no effect: there is no "
            "reference model",
        ),
        (f"{ACTOR}.optim.lr_warmup_steps_ratio=0.1", f"{ACTOR}.optim.lr_warmup_steps_ratio has no"),
        (f"{ACTOR}.optim.total_training_steps=9", f"{ACTOR}.optim.total_training_steps has no"),
        (
            f"{ACTOR}.optim.lr_scheduler_type=constant {ACTOR}.optim.min_lr_ratio=0.1",
            f"{ACTOR}.optim.min_lr_ratio has no effect: it belongs to lr_scheduler_type=cosine",
        ),
        (
            f"{ACTOR}.use_dynamic_bsz=true",
            f"{ACTOR}.ppo_micro_batch_size_per_gpu, {ROLLOUT}.log_prob_micro_batch_size_per_gpu "
            "have no effect: with use_dynamic_bsz",
        ),
        (
            f"{ACTOR}.ppo_max_token_len_per_gpu=9000",
            f"{ACTOR}.ppo_max_token_len_per_gpu has no effect: it belongs to ",
        ),
        (
            f"{FOUR_GPUS} {BY_TOKENS} {ACTOR}.use_kl_loss=true "
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16",
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu has no effect: with ",
        ),
        (f"{ACTOR}.use_torch_compile=false", f"{ACTOR}.use_torch_compile has no effect"),
        (f"{ACTOR}.use_remove_padding=true", f"{ACTOR}.use_remove_padding has no effect"),
        (f"{ACTOR}.clip_ratio_c=10", f"{ACTOR}.clip_ratio_c has no effect"),
        (f"{LOSS}.kl_cov_ratio=0.1", f"{LOSS}.kl_cov_ratio has no effect"),
        (
            f"{FOUR_GPUS} {ENGINE}.offload_policy=true {ENGINE}.param_offload=true",
            f"{ENGINE}.param_offload has no effect: offload_policy=true takes their place",
        ),
        (
            f"{FOUR_GPUS} {ENGINE}.offload_policy=true {ENGINE}.optimizer_offload=true",
            f"{ENGINE}.optimizer_offload has no effect: offload_policy=true takes their place",
        ),
        (
            f"{FOUR_GPUS} {ENGINE}.offload_policy=true {ACTOR}.strategy=fsdp",
            f"{ENGINE}.offload_policy has no effect: it belongs to {ACTOR}.strategy=fsdp2",
        ),
        (f"{ROLLOUT}.do_sample=false", f"{ROLLOUT}.do_sample has no effect"),
        (f"{ROLLOUT}.multi_turn.enable=true", f"{ROLLOUT}.multi_turn.enable has no effect"),
        (
            f"{ROLLOUT}.multi_turn.max_user_turns=3",
            f"{ROLLOUT}.multi_turn.max_user_turns has no effect: it belongs to ",
        ),
        ("algorithm.gamma=0.9", "algorithm.gamma has no effect: algorithm.adv_estimator=holder"),
        ("algorithm.norm_adv_by_std_in_grpo=false", "algorithm.norm_adv_by_std_in_grpo has no"),
        (
            "algorithm.rollout_correction.rollout_is_threshold=3",
            "algorithm.rollout_correction.rollout_is_threshold has no effect: it belongs to "
            "algorithm.rollout_correction.rollout_is",
        ),
        ("global_profiler.steps=[1]", "global_profiler.steps has no effect: profiling needs"),
    ],
)
def test_a_changed_one_warns(overrides, expected, existing):
    (line,) = warnings_of(existing, overrides)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        # Others follow these.
        f"{ACTOR}.ppo_mini_batch_size=16 {ACTOR}.ppo_epochs=2 trainer.test_freq=5",
        f"{FOUR_GPUS} {BY_TOKENS} {ACTOR}.ppo_max_token_len_per_gpu=20000",
        "advantage.normalize_by_std=false",
        # Read after all.
        f"{LOSS}.loss_mode=kl_cov {LOSS}.kl_cov_ratio=0.1",
        f"{LOSS}.loss_mode=vanilla {ACTOR}.clip_ratio_c=10",
        "algorithm.adv_estimator=reinforce_plus_plus algorithm.gamma=0.9",
        f"{ACTOR}.optim.lr_warmup_steps=0 {ACTOR}.optim.lr_warmup_steps_ratio=0.1",
        f"{FOUR_GPUS} {ENGINE}.param_offload=true {ENGINE}.optimizer_offload=true",
        f"{ROLLOUT}.agent.default_agent_loop=tool_agent {ROLLOUT}.multi_turn.max_user_turns=3",
        f"{FOUR_GPUS} {ACTOR}.use_kl_loss=true {ACTOR}.kl_loss_coef=0.1 "
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16",
        # As they are.
        "critic.ppo_epochs=1 transfer_queue.enable=true",
    ],
)
def test_nothing_else_does(overrides, existing):
    assert warnings_of(existing, overrides) == []


def test_leaves_are_named_with_dots():
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}
