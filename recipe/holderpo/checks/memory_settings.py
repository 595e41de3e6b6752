"""verl's settings that decide how much memory a run needs."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from omegaconf import DictConfig

from holderpo.memory.host_memory import Adapters
from holderpo.memory.sizes import Reference, RolloutEngine, Training
from recipe.holderpo.checks.adapters import are_sent_apart
from recipe.holderpo.checks.attention import attention, is_flash
from recipe.holderpo.checks.batches import has_reference

_MIB = 2**20
# Numbers that torch's optimisers keep for each parameter, and copies of all parameters that a step
# on all tensors at once makes, where they are not Adam's two and one.
_STATES = {"SGD": 0, "ASGD": 1, "Adagrad": 1, "RMSprop": 1}
_COPIES = {"SGD": 0, "Adagrad": 2, "Adadelta": 2}
# These add the decayed weights to a copy of the gradients that is there until the end of the step.
_COPY_TO_DECAY = ("SGD", "RMSprop", "Adadelta", "NAdam")


def update_tokens(config: DictConfig) -> int:
    """Tokens of the update's largest micro-batch on one GPU."""
    actor = config.actor_rollout_ref.actor
    rows = actor.ppo_mini_batch_size * config.actor_rollout_ref.rollout.n
    budget = actor.ppo_max_token_len_per_gpu if actor.use_dynamic_bsz else None
    return _tokens(config, rows, budget, actor.ppo_micro_batch_size_per_gpu)


def log_prob_tokens(config: DictConfig) -> dict[str, int]:
    """Tokens of the largest micro-batch on one GPU that is only read: actor's and reference's."""
    sections = ["rollout", *(["ref"] if has_reference(config) else [])]
    return {name: _read_tokens(config, config.actor_rollout_ref[name]) for name in sections}


def _read_tokens(config: DictConfig, section: DictConfig) -> int:
    rollout = config.actor_rollout_ref.rollout
    rows = config.data.train_batch_size * rollout.n
    if config.get("agent"):
        # Each turn is a row, and a round has many.
        rows *= config.agent.max_steps
    budget = section.log_prob_max_token_len_per_gpu if section.log_prob_use_dynamic_bsz else None
    return _tokens(config, rows, budget, section.log_prob_micro_batch_size_per_gpu)


def _tokens(config: DictConfig, rows: int, budget: int | None, micro_batch: int | None) -> int:
    """With dynamic micro-batches as many as they may hold, else the longest rows."""
    ranks_a_row = config.actor_rollout_ref.actor.ulysses_sequence_parallel_size
    rows_here = max(rows * ranks_a_row // gpus(config), 1)
    if budget is None:
        rows_here = min(micro_batch or rows_here, rows_here)
    at_most = -(-rows_here * longest_row(config) // ranks_a_row)
    return at_most if budget is None else min(budget, at_most)


def longest_row(config: DictConfig) -> int:
    """Tokens of prompt and response together."""
    return int(config.data.max_prompt_length + config.data.max_response_length)


def gpus(config: DictConfig) -> int:
    """Of all machines."""
    return int(config.trainer.n_gpus_per_node * config.trainer.nnodes)


def training_of(config: DictConfig, *, is_here: bool = False) -> Training:
    """How the actor is trained.

    Args:
        config: with settings of the right kinds.
        is_here: whether the run is to be on this machine, and its packages are those here.

    Returns:
        What its memory follows from.
    """
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    engine, rollout = actor.fsdp_config, config.actor_rollout_ref.rollout
    precision = engine.get("mixed_precision") or {}
    weight_bytes = _number_bytes(engine.model_dtype or "fp32")
    state_bytes, step_bytes = _optimiser(actor.optim, weight_bytes)
    total = gpus(config)
    lives_on_host = actor.strategy == "fsdp2" and engine.offload_policy
    chunks = engine.entropy_from_logits_with_chunking
    return Training(
        strategy=str(actor.strategy),
        gpus=total,
        shards=_shards(engine, total),
        weight_bytes=weight_bytes,
        compute_bytes=_number_bytes(precision.get("param_dtype", "bf16")),
        reduce_bytes=_number_bytes(precision.get("reduce_dtype", "fp32")),
        state_bytes=state_bytes,
        step_bytes=step_bytes,
        update_tokens=update_tokens(config),
        log_prob_tokens=max(log_prob_tokens(config).values()),
        longest=longest_row(config),
        packed=bool(model.use_remove_padding),
        attention=attention(config),
        flash_cross_entropy=_flash_cross_entropy(config, is_here=is_here),
        checkpoints_layers=bool(model.enable_gradient_checkpointing),
        fused=bool(model.use_fused_kernels),
        scales_logits=rollout.temperature != 1,
        trains_entropy=bool(actor.calculate_entropy or actor.entropy_coeff),
        compiles_entropy=bool(engine.use_torch_compile),
        entropy_chunk=engine.entropy_from_logits_chunk_size if chunks else None,
        reshards=bool(engine.reshard_after_forward),
        keeps_whole_gradients=bool(engine.use_no_sync_for_gradient_accumulation),
        weights_rest_on_host=bool(engine.param_offload or lives_on_host),
        optimizer_rests_on_host=bool(engine.optimizer_offload or lives_on_host),
        lives_on_host=bool(lives_on_host),
        reference=_reference(config),
    )


def engine_of(config: DictConfig) -> RolloutEngine:
    """The rollout engine."""
    rollout = config.actor_rollout_ref.rollout
    return RolloutEngine(
        share=float(rollout.gpu_memory_utilization),
        gpus=int(rollout.tensor_model_parallel_size),
        number_bytes=_number_bytes(rollout.dtype),
        sleeps=bool(rollout.free_cache_engine),
        bucket=int(rollout.checkpoint_engine.update_weights_bucket_megabytes) * _MIB,
        # vLLM does not start without room for a row as long as it may be.
        longest=int(rollout.max_model_len or longest_row(config)),
    )


def adapters_of(config: DictConfig) -> Adapters | None:
    """LoRA that is not merged; vLLM sleeps with its weights in main memory then."""
    rollout = config.actor_rollout_ref.rollout
    if not (are_sent_apart(config) and rollout.free_cache_engine):
        return None
    engine = engine_of(config)
    return Adapters(engine.gpus, engine.number_bytes, sends_weights="dummy" in rollout.load_format)


def _reference(config: DictConfig) -> Reference | None:
    if not has_reference(config):
        return None
    engine = config.actor_rollout_ref.ref.fsdp_config
    return Reference(_number_bytes(engine.model_dtype or "bf16"), _shards(engine, gpus(config)))


def _shards(engine: DictConfig, total: int) -> int:
    return int(engine.fsdp_size) if 0 < engine.fsdp_size < total else total


def _flash_cross_entropy(config: DictConfig, *, is_here: bool) -> bool:
    """It is taken wherever the package is, whatever attention is chosen."""
    deterministic = config.actor_rollout_ref.actor.fsdp_config.full_determinism
    if os.environ.get("VERL_DISABLE_FLASH_ATTN_CE", "1" if deterministic else "0") == "1":
        return False
    if is_here:
        return importlib.util.find_spec("flash_attn") is not None
    return is_flash(attention(config))


def processes(config: DictConfig) -> int:
    """Those without a GPU, on one machine: driver, TransferQueue, rollout and reward workers."""
    backend = config.transfer_queue.backend
    simple = backend.storage_backend == "SimpleStorage"
    engines = gpus(config) // config.actor_rollout_ref.rollout.tensor_model_parallel_size
    return int(
        2
        + (backend.SimpleStorage.num_data_storage_units if simple else 0)
        + config.actor_rollout_ref.rollout.agent.num_workers
        + config.reward.num_workers
        # A server and the core of each engine; its workers are counted with the GPUs.
        + 2 * max(engines // config.trainer.nnodes, 1)
    )


def _number_bytes(dtype: Any) -> int:
    return 4 if "32" in str(dtype) or str(dtype) == "float" else 2


def _optimiser(optim: DictConfig, weight_bytes: int) -> tuple[int, int]:
    """State of one parameter, and what a step needs in addition."""
    name, own = optim.optimizer, optim.override_optimizer_config or {}
    if "8bit" in name:
        return 2, 0
    states = _STATES.get(name, 2) + bool(own.get("amsgrad")) + bool(own.get("centered"))
    states += name in _STATES and bool(own.get("momentum"))
    if optim.optimizer_impl != "torch.optim" or own.get("fused") or own.get("foreach") is False:
        return states * weight_bytes, 0
    decay = own.get("weight_decay", optim.weight_decay)
    copies = _COPIES.get(name, 1) + bool(decay and name in _COPY_TO_DECAY)
    return states * weight_bytes, copies * weight_bytes
