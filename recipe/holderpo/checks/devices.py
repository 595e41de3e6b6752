"""Whether the devices can be shared out as the configuration says."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from holderpo.number_kinds import is_whole
from recipe.holderpo.checks.attention import (
    ATTENTION,
    FLASH_2,
    attention,
    is_flash,
    types_in_float32,
)
from recipe.holderpo.checks.batches import has_reference


def device_problems(config: DictConfig) -> Iterator[str]:
    """Ways to spread a model over devices that do not exist.

    Args:
        config: with counts that are counts.

    Yields:
        One line per problem: field, value, fix.
    """
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    yield from _sequence_parallel(config, devices, "actor")
    yield from _shards(config, devices, "actor")
    if has_reference(config):
        yield from _shards(config, devices, "ref")
        # It follows the actor unless it is set.
        actor, ref = config.actor_rollout_ref.actor, config.actor_rollout_ref.ref
        if ref.ulysses_sequence_parallel_size != actor.ulysses_sequence_parallel_size:
            yield from _sequence_parallel(config, devices, "ref")
    yield from _rollout_engines(config, devices)
    yield from _reward_model(config, devices)
    if config.device == "cpu":
        yield from _without_gpu(config)
    elif is_flash(attention(config)):
        for field in types_in_float32(config):
            yield (
                f"{ATTENTION}: {attention(config)!r} with {field} float32; flash attention "
                "computes in 16 bits: give 'sdpa', or bf16 there"
            )


def _shards(config: DictConfig, devices: int, role: str) -> Iterator[str]:
    """Of the actor's or the reference model's weights."""
    size = config.actor_rollout_ref[role].fsdp_config.fsdp_size
    if size == 0 or (0 < size < devices and devices % size):
        yield (
            f"actor_rollout_ref.{role}.fsdp_config.fsdp_size: {size}; give -1 for all, or a number "
            f"that divides the {devices} devices"
        )


def _sequence_parallel(config: DictConfig, devices: int, role: str) -> Iterator[str]:
    """Of the actor, or of the reference model."""
    section = config.actor_rollout_ref[role]
    field = f"actor_rollout_ref.{role}.ulysses_sequence_parallel_size"
    size = section.ulysses_sequence_parallel_size
    engine_size = section.fsdp_config.ulysses_sequence_parallel_size
    if engine_size not in (1, size):
        yield (
            f"actor_rollout_ref.{role}.fsdp_config.ulysses_sequence_parallel_size: "
            f"{engine_size!r}; leave it at 1 and set {field}"
        )
    if size == 1:
        return
    if not is_whole(size, at_least=1) or devices % size:
        yield f"{field}: {size}; give a number that divides the {devices} devices"
    if not config.actor_rollout_ref.model.use_remove_padding:
        yield (
            f"{field}: {size}, but actor_rollout_ref.model.use_remove_padding is false; verl "
            "shares out packed rows only: give 1, or set that to true"
        )
    if not is_flash(attention(config)):
        yield (
            f"{field}: {size} with {ATTENTION} {attention(config)!r}; only flash attention "
            f"exchanges the parts of a response: give 1, or '{FLASH_2}'"
        )


def _rollout_engines(config: DictConfig, devices: int) -> Iterator[str]:
    rollout = config.actor_rollout_ref.rollout
    where = "actor_rollout_ref.rollout"
    if rollout.pipeline_model_parallel_size > 1:
        yield _no_pipelines(where, rollout)
        return
    tensor, data = rollout.tensor_model_parallel_size, rollout.data_parallel_size
    engine = tensor * data
    per_machine = config.trainer.n_gpus_per_node
    if devices % engine:
        yield (
            f"{where}.tensor_model_parallel_size: {tensor}"
            + (f" (with data_parallel_size {data})" if data > 1 else "")
            + f"; an engine takes {engine} devices, which must divide the {devices} of "
            "trainer.n_gpus_per_node * trainer.nnodes"
        )
    elif per_machine % engine and engine % per_machine:
        yield (
            f"{where}.tensor_model_parallel_size: {tensor}; an engine takes {engine} devices and "
            f"would lie across machines of {per_machine}, give a number that divides them"
        )
    if rollout.expert_parallel_size not in (1, engine):
        yield (
            f"{where}.expert_parallel_size: {rollout.expert_parallel_size!r}; give 1, or the "
            f"{engine} devices of an engine"
        )


def _no_pipelines(where: str, rollout: DictConfig) -> str:
    return (
        f"{where}.pipeline_model_parallel_size: {rollout.pipeline_model_parallel_size}; verl "
        "0.9.1 has no pipelines in its engines, give 1"
    )


def _reward_model(config: DictConfig, devices: int) -> Iterator[str]:
    """The engines of a model that rewards, on GPUs of their own or on those of the training."""
    model = config.reward.reward_model
    where = "reward.reward_model"
    field = f"{where}.rollout.tensor_model_parallel_size"
    # verl sets these aside even if no model rewards.
    if model.enable_resource_pool:
        for name in ("n_gpus_per_node", "nnodes"):
            if not is_whole(model[name], at_least=1):
                yield (
                    f"{where}.{name}: {model[name]!r}; with {where}.enable_resource_pool=true give "
                    "a whole number above 0"
                )
                return
        devices = model.n_gpus_per_node * model.nnodes
    if not model.enable:
        return
    if model.rollout.pipeline_model_parallel_size != 1:
        yield _no_pipelines(f"{where}.rollout", model.rollout)
        return
    tensor, data = model.rollout.tensor_model_parallel_size, model.rollout.data_parallel_size
    if not is_whole(tensor, at_least=1) or devices % (tensor * data):
        whose = "of its own" if model.enable_resource_pool else "that training has"
        yield f"{field}: {tensor!r}; an engine's devices must divide the {devices} {whose}"


def _without_gpu(config: DictConfig) -> Iterator[str]:
    """What verl does in pinned memory, or with kernels, needs a GPU."""
    actor = config.actor_rollout_ref.actor
    if is_flash(attention(config)):
        yield f"{ATTENTION}: {attention(config)!r}; a CPU has none, give 'sdpa'"
    if actor.fsdp_config.offload_policy:
        yield (
            "actor_rollout_ref.actor.fsdp_config.offload_policy: true; its pinned memory needs a "
            "GPU, give false"
        )
    reference = {
        "actor_rollout_ref.actor.use_kl_loss": actor.use_kl_loss,
        "algorithm.use_kl_in_reward": config.algorithm.use_kl_in_reward,
    }
    is_apart = has_reference(config)
    for field in (field for field, is_on in reference.items() if is_on and is_apart):
        yield (
            f"{field}: true; verl keeps the reference model in pinned memory, which needs a GPU: "
            "give false on a CPU"
        )
