"""Settings of verl that nothing reads in this recipe: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.adapters import are_sent_apart
from recipe.holderpo.checks.asynchronous import is_asynchronous
from recipe.holderpo.checks.batches import has_reference
from recipe.holderpo.checks.kinds import ACTOR, ROLLOUT
from recipe.holderpo.checks.ruinous import MODEL
from recipe.holderpo.sections import HOLDER

REF = "actor_rollout_ref.ref"
CORRECTION = "algorithm.rollout_correction"
_Condition = Callable[[DictConfig], bool]


def _never(config: DictConfig) -> bool:
    return False


def _is(field: str, *values: Any) -> _Condition:
    """Whether a setting has one of these values."""
    return lambda config: OmegaConf.select(config, field) in values


def _is_on(field: str) -> _Condition:
    """Whether a setting is set, or true."""
    return lambda config: bool(OmegaConf.select(config, field))


def _agrees_with_model(config: DictConfig) -> bool:
    """Whether the actor says the same as the model, which is what is read."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    return bool(
        actor.use_remove_padding == model.use_remove_padding
        and actor.use_fused_kernels == model.use_fused_kernels
    )


@dataclass(frozen=True)
class Unread:
    """Settings and why nothing reads them."""

    fields: tuple[str, ...]
    """Settings; with a dot at its end a whole section."""
    why: str
    """What is done or read instead."""
    unless: _Condition = _never
    """Whether they are read after all."""


_LOSS = f"{ACTOR}.policy_loss"
_OPTIM = f"{ACTOR}.optim"
_ENGINE = f"{ACTOR}.fsdp_config"
_LOSS_MODE = f"{_LOSS}.loss_mode"
# Of model.lora; rank is refused.
_OF_MEGATRON = (
    *("type", "alpha", "dropout", "target_modules", "exclude_modules", "dropout_position"),
    *("lora_A_init_method", "lora_B_init_method", "a2a_experimental", "dtype", "adapter_path"),
    *("freeze_vision_model", "freeze_vision_projection", "freeze_language_model"),
)
UNREAD = (
    # The actor.
    Unread(
        (f"{ACTOR}.grad_clip",),
        f"verl clips the gradient at {_OPTIM}.clip_grad",
        unless=lambda config: (
            config.actor_rollout_ref.actor.grad_clip
            == config.actor_rollout_ref.actor.optim.clip_grad
        ),
    ),
    Unread(
        (f"{ACTOR}.use_remove_padding", f"{ACTOR}.use_fused_kernels"),
        f"verl reads those of {MODEL}",
        unless=_agrees_with_model,
    ),
    Unread(
        (f"{ACTOR}.use_torch_compile", f"{REF}.use_torch_compile"),
        "verl's FSDP engine reads fsdp_config.use_torch_compile",
    ),
    Unread((f"{ACTOR}.rollout_n", f"{REF}.rollout_n"), f"verl's V1 trainer reads {ROLLOUT}.n"),
    Unread((f"{ACTOR}.qat.",), f"verl reads {_ENGINE}.qat"),
    Unread(
        (f"{ACTOR}.freeze_vision_tower", f"{ACTOR}.use_prefix_grouper", f"{MODEL}.tiled_mlp."),
        "verl's FSDP engine has no such thing",
    ),
    Unread(
        (
            f"{ACTOR}.ppo_micro_batch_size",
            f"{ROLLOUT}.log_prob_micro_batch_size",
            f"{REF}.log_prob_micro_batch_size",
        ),
        "verl reads the one that ends in _per_gpu",
    ),
    Unread(
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu"),
        "with use_dynamic_bsz micro-batches are cut by ppo_max_token_len_per_gpu and "
        "log_prob_max_token_len_per_gpu",
        unless=lambda config: not config.actor_rollout_ref.actor.use_dynamic_bsz,
    ),
    Unread(
        (f"{ACTOR}.ppo_max_token_len_per_gpu", f"{ROLLOUT}.log_prob_max_token_len_per_gpu"),
        f"it belongs to {ACTOR}.use_dynamic_bsz=true",
        unless=_is_on(f"{ACTOR}.use_dynamic_bsz"),
    ),
    Unread(
        (f"{REF}.log_prob_micro_batch_size_per_gpu",),
        f"with use_dynamic_bsz micro-batches are cut by {REF}.log_prob_max_token_len_per_gpu",
        unless=lambda config: (
            not has_reference(config) or not config.actor_rollout_ref.ref.log_prob_use_dynamic_bsz
        ),
    ),
    Unread(
        (f"{ACTOR}.pad_to_length", f"{_ENGINE}.pad_to_length_bucket"),
        f"only packed rows are padded so ({MODEL}.use_remove_padding)",
        unless=_is_on(f"{MODEL}.use_remove_padding"),
    ),
    Unread(
        (f"{ACTOR}.kl_loss_coef", f"{ACTOR}.kl_loss_type"),
        f"it belongs to {ACTOR}.use_kl_loss=true",
        unless=_is_on(f"{ACTOR}.use_kl_loss"),
    ),
    Unread(
        (f"{ACTOR}.clip_ratio_c",),
        "the dual clip of the Hölder loss is policy_loss.dual_clip, other losses have none",
        unless=_is(_LOSS_MODE, "vanilla", "dppo_tv", "dppo_kl", "clip_cov", "bypass_mode"),
    ),
    Unread(
        (f"{ACTOR}.tau_pos", f"{ACTOR}.tau_neg"),
        "it belongs to policy_loss.loss_mode=sapo",
        unless=_is(_LOSS_MODE, "sapo"),
    ),
    Unread(
        (f"{_LOSS}.clip_cov_ratio", f"{_LOSS}.clip_cov_lb", f"{_LOSS}.clip_cov_ub"),
        "it belongs to policy_loss.loss_mode=clip_cov",
        unless=_is(_LOSS_MODE, "clip_cov"),
    ),
    Unread(
        (f"{_LOSS}.kl_cov_ratio", f"{_LOSS}.ppo_kl_coef"),
        "it belongs to policy_loss.loss_mode=kl_cov",
        unless=_is(_LOSS_MODE, "kl_cov"),
    ),
    Unread(
        (f"{_LOSS}.dro_beta",),
        "it belongs to policy_loss.loss_mode=dro",
        unless=_is(_LOSS_MODE, "dro"),
    ),
    Unread(
        (f"{ACTOR}.loss_scale_factor",),
        "it belongs to loss_agg_mode=seq-mean-token-sum-norm",
        unless=_is(f"{ACTOR}.loss_agg_mode", "seq-mean-token-sum-norm"),
    ),
    # Its optimiser and engine.
    Unread((f"{_OPTIM}.total_training_steps",), "verl puts trainer.total_training_steps there"),
    Unread(
        (f"{_OPTIM}.lr_warmup_steps_ratio",),
        "lr_warmup_steps above 0 is taken",
        unless=lambda config: config.actor_rollout_ref.actor.optim.lr_warmup_steps <= 0,
    ),
    Unread(
        (f"{_OPTIM}.min_lr_ratio", f"{_OPTIM}.num_cycles", f"{_OPTIM}.zero_indexed_step"),
        "it belongs to lr_scheduler_type=cosine",
        unless=_is(f"{_OPTIM}.lr_scheduler_type", "cosine"),
    ),
    Unread(
        (f"{_ENGINE}.strategy", f"{_ENGINE}.dtype", f"{_ENGINE}.turbo_config."),
        f"verl reads {ACTOR}.strategy and fsdp_config.mixed_precision",
    ),
    Unread(
        (f"{_ENGINE}.use_orig_params",),
        f"it belongs to {ACTOR}.strategy=fsdp",
        unless=_is(f"{ACTOR}.strategy", "fsdp"),
    ),
    Unread(
        (f"{_ENGINE}.offload_policy",),
        f"it belongs to {ACTOR}.strategy=fsdp2 (set param_offload and optimizer_offload)",
        unless=_is(f"{ACTOR}.strategy", "fsdp2"),
    ),
    Unread(
        (f"{_ENGINE}.param_offload", f"{_ENGINE}.optimizer_offload"),
        "offload_policy=true takes their place",
        unless=lambda config: (
            config.actor_rollout_ref.actor.strategy != "fsdp2"
            or not config.actor_rollout_ref.actor.fsdp_config.offload_policy
        ),
    ),
    Unread(
        (f"{REF}.",),
        f"there is no reference model of its own (set {ACTOR}.use_kl_loss or "
        f"algorithm.use_kl_in_reward; with {MODEL}.lora_rank it is the actor)",
        unless=has_reference,
    ),
    # The model.
    Unread(
        (
            f"{MODEL}.lora_alpha",
            f"{MODEL}.target_modules",
            f"{MODEL}.exclude_modules",
            f"{MODEL}.lora.merge",
        ),
        f"it belongs to adapters (set {MODEL}.lora_rank)",
        unless=_is_on(f"{MODEL}.lora_rank"),
    ),
    Unread(
        tuple(f"{MODEL}.lora.{name}" for name in _OF_MEGATRON),
        "it belongs to Megatron",
    ),
    Unread(
        (f"{ROLLOUT}.layered_summon",),
        f"it belongs to adapters ({MODEL}.lora_rank) that are not merged",
        unless=are_sent_apart,
    ),
    Unread(
        (f"{MODEL}.fused_kernel_options.",),
        f"it belongs to {MODEL}.use_fused_kernels=true",
        unless=_is_on(f"{MODEL}.use_fused_kernels"),
    ),
    # Rollouts.
    Unread(
        (f"{ROLLOUT}.do_sample",),
        f"verl's V1 trainer always samples, at {ROLLOUT}.temperature",
    ),
    Unread(
        (
            f"{ROLLOUT}.over_sample_rate",
            f"{ROLLOUT}.multi_stage_wake_up",
            f"{ROLLOUT}.skip_tokenizer_init",
            f"{ROLLOUT}.trace.",
            f"{ROLLOUT}.agent.custom_async_server.",
            f"{ROLLOUT}.multi_turn.enable",
            f"{ROLLOUT}.multi_turn.num_repeat_rollouts",
        ),
        "verl's V1 trainer with vLLM does not read it",
        unless=lambda config: config.actor_rollout_ref.rollout.name != "vllm",
    ),
    Unread(
        (f"{ROLLOUT}.nnodes", "actor_rollout_ref.hybrid_engine"),
        "training and rollouts share the devices of trainer.nnodes",
    ),
    Unread(
        (f"{ROLLOUT}.checkpoint_engine.backend",),
        "verl's V1 trainer hands the weights over in place",
    ),
    Unread(
        (
            f"{ROLLOUT}.multi_turn.max_assistant_turns",
            f"{ROLLOUT}.multi_turn.max_user_turns",
            f"{ROLLOUT}.multi_turn.max_parallel_calls",
            f"{ROLLOUT}.multi_turn.max_tool_response_length",
            f"{ROLLOUT}.multi_turn.tool_response_truncate_side",
            f"{ROLLOUT}.multi_turn.format",
        ),
        f"it belongs to {ROLLOUT}.agent.default_agent_loop=tool_agent, or a loop of yours",
        unless=lambda config: (
            not str(config.actor_rollout_ref.rollout.agent.default_agent_loop).startswith("single")
            or config.actor_rollout_ref.rollout.agent.agent_loop_config_path is not None
        ),
    ),
    Unread(
        (f"{ROLLOUT}.disaggregation.",),
        f"it belongs to {ROLLOUT}.disaggregation.enabled=true",
        unless=_is_on(f"{ROLLOUT}.disaggregation.enabled"),
    ),
    Unread(
        (f"{ROLLOUT}.prometheus.",),
        f"it belongs to {ROLLOUT}.prometheus.enable=true",
        unless=_is_on(f"{ROLLOUT}.prometheus.enable"),
    ),
    # The algorithm.
    Unread(
        ("algorithm.gamma", "algorithm.lam", "algorithm.norm_adv_by_std_in_grpo"),
        f"algorithm.adv_estimator={HOLDER} reads the section advantage alone",
        unless=lambda config: config.algorithm.adv_estimator != HOLDER,
    ),
    Unread(("algorithm.use_pf_ppo", "algorithm.pf_ppo."), "verl's V1 trainer does not read it"),
    Unread(
        ("algorithm.kl_penalty", "algorithm.kl_ctrl."),
        "it belongs to algorithm.use_kl_in_reward=true",
        unless=_is_on("algorithm.use_kl_in_reward"),
    ),
    Unread(
        ("algorithm.filter_groups.metric",),
        "it belongs to algorithm.filter_groups.enable=true",
        unless=_is_on("algorithm.filter_groups.enable"),
    ),
    Unread(
        ("algorithm.filter_groups.max_inflight_gen_batches",),
        "it belongs to algorithm.filter_groups.enable=true with synchronous rollouts",
        unless=lambda config: config.algorithm.filter_groups.enable and not is_asynchronous(config),
    ),
    Unread(
        ("algorithm.filter_groups.max_num_gen_batches",),
        "verl's V1 trainer reads max_inflight_gen_batches",
    ),
    Unread(
        (f"{CORRECTION}.rollout_is_threshold", f"{CORRECTION}.rollout_is_batch_normalize"),
        f"it belongs to {CORRECTION}.rollout_is",
        unless=_is_on(f"{CORRECTION}.rollout_is"),
    ),
    Unread(
        (f"{CORRECTION}.rollout_rs_threshold",),
        f"it belongs to {CORRECTION}.rollout_rs",
        unless=_is_on(f"{CORRECTION}.rollout_rs"),
    ),
    Unread(
        (f"{CORRECTION}.loss_type",),
        f"it belongs to {CORRECTION}.bypass_mode",
        unless=_is_on(f"{CORRECTION}.bypass_mode"),
    ),
    # Data and rewards.
    Unread(
        (
            "data.tokenizer",
            "data.reward_fn_key",
            "data.return_raw_input_ids",
            "data.return_raw_chat",
            "data.return_full_prompt",
            "data.trust_remote_code",
        ),
        "verl's V1 trainer does not read it",
    ),
    Unread(
        (
            "data.prompt_key",
            "data.truncation",
            "data.filter_overlong_prompts",
            "data.filter_overlong_prompts_workers",
            f"{ROLLOUT}.agent.default_agent_loop",
        ),
        "with an agent, rows are games, and the prompts of their turns are written as they come",
        unless=lambda config: not has_agent(config),
    ),
    Unread(
        ("reward.custom_reward_function.", "reward.reward_manager."),
        "with an agent, the environment rewards",
        unless=lambda config: not has_agent(config),
    ),
    Unread(
        ("reward.reward_model.",),
        "it belongs to reward.reward_model.enable=true",
        unless=_is_on("reward.reward_model.enable"),
    ),
    Unread(
        ("reward.reward_manager.module.",),
        "it belongs to reward.reward_manager.source=importlib",
        unless=_is("reward.reward_manager.source", "importlib"),
    ),
    Unread(
        ("reward.sandbox_fusion.",),
        "it belongs to reward.sandbox_fusion.url",
        unless=_is_on("reward.sandbox_fusion.url"),
    ),
    Unread(("critic.", "trainer.max_critic_ckpt_to_keep"), "there is no critic"),
    Unread(("distillation.",), "this recipe's loss replaces verl's distillation loss"),
    # The trainer and what is around it.
    Unread(("trainer.balance_batch",), "verl's V1 trainer always balances the batch"),
    Unread(
        (
            "trainer.esi_redundant_time",
            "trainer.ray_wait_register_center_timeout",
            "actor_rollout_ref.nccl_timeout",
        ),
        "verl's V1 trainer does not read it",
    ),
    Unread(
        (
            "trainer.v1.colocate_async.",
            "trainer.v1.sampler.max_off_policy_threshold",
            "trainer.v1.sampler.max_off_policy_strategy",
        ),
        "it belongs to trainer.v1.trainer_mode=colocate_async",
        unless=is_asynchronous,
    ),
    Unread(("trainer.v1.separate_async.",), "this recipe does not have verl's separate_async"),
    Unread(
        ("trainer.v1.sampler.sync_refill_failed_groups",),
        "asynchronous rollouts always replace failed groups",
        unless=lambda config: not is_asynchronous(config),
    ),
    Unread(
        ("data.gen_batch_size",),
        "asynchronous rollouts take prompts one at a time",
        unless=lambda config: not is_asynchronous(config),
    ),
    Unread(("skip.rollout.", "skip.async_rollout."), "verl's V1 trainer reads skip.rollout_tq"),
    Unread(
        ("global_profiler.",),
        "profiling needs global_profiler.tool and global_profiler.steps",
        unless=lambda config: (
            config.global_profiler.tool is not None and config.global_profiler.steps is not None
        ),
    ),
    Unread(
        ("transfer_queue.enable",),
        "it is always on",
        unless=_is_on("transfer_queue.enable"),
    ),
    Unread(
        ("transfer_queue.backend.MooncakeStore.",),
        "it belongs to transfer_queue.backend.storage_backend=MooncakeStore",
        unless=_is("transfer_queue.backend.storage_backend", "MooncakeStore"),
    ),
    Unread(("ray_kwargs.timeline_json_file",), "this entry point writes no timeline"),
)
