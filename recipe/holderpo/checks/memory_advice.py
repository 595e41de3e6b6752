"""Which setting to change where a run does not fit a GPU: each is tried on the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from holderpo.memory.gpu_memory import ANSWERING, GpuMemory, gpu_memory
from holderpo.memory.sizes import ModelShape, RolloutEngine, Training
from recipe.holderpo.checks.batches import has_reference

_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
_MODEL, _ENGINE = "actor_rollout_ref.model", f"{_ACTOR}.fsdp_config"
SHARE = f"{_ROLLOUT}.gpu_memory_utilization"
_Changes = Callable[[DictConfig, "Setup"], Iterator[tuple[str, "Setup"]]]
# Smaller ones leave an engine next to nothing.
_SHARES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)


@dataclass(frozen=True)
class Setup:
    """What the memory of a GPU follows from."""

    shape: ModelShape
    training: Training
    engine: RolloutEngine

    def memory(self, card: int | None) -> GpuMemory:
        """Expected on a GPU of so many bytes."""
        return gpu_memory(self.shape, self.training, self.engine, card)


def advice(config: DictConfig, setup: Setup, card: int) -> str:
    """What makes a run fit: one change where one is enough, else one for each moment that does not.

    Args:
        config: of the run.
        setup: of the run, which does not fit.
        card: memory of the GPU.

    Returns:
        Settings and values, for the end of a sentence.
    """
    for changes in (_cheap_changes, _all_changes):
        for words, changed in changes(config, setup):
            if not _too_large(changed, card):
                return words
        if several := _one_by_one(config, setup, card, changes):
            return several
    return "no setting is enough: take larger GPUs, or many more"


def _one_by_one(config: DictConfig, setup: Setup, card: int, changes: _Changes) -> str | None:
    """One change for each moment that does not fit; None if that is not enough."""
    said = []
    for moment in _too_large(setup, card):
        if moment not in _too_large(setup, card):
            continue
        for words, changed in changes(config, setup):
            if moment not in _too_large(changed, card):
                said.append(words)
                setup = changed
                break
    return None if _too_large(setup, card) else ", and ".join(said)


def _too_large(setup: Setup, card: int) -> list[str]:
    """Moments that do not fit, a share in which no response has room among them."""
    memory = setup.memory(card)
    over = [name for name, held in memory.moments.items() if held > card]
    if ANSWERING not in over and (memory.key_value_tokens or 0) < setup.training.longest:
        over.append(ANSWERING)
    return over


def _all_changes(config: DictConfig, setup: Setup) -> Iterator[tuple[str, Setup]]:
    yield from _cheap_changes(config, setup)
    yield from _changes_that_cost(config, setup)


def _cheap_changes(config: DictConfig, setup: Setup) -> Iterator[tuple[str, Setup]]:
    """Those that cost least first."""
    shape, training, engine = setup.shape, setup.training, setup.engine
    if not engine.sleeps:
        yield (
            f"set {_ROLLOUT}.free_cache_engine=true",
            replace(setup, engine=replace(engine, sleeps=True)),
        )
    for share in _SHARES:
        if share < engine.share:
            yield (
                f"lower {SHARE} from {engine.share:g} to {share:g}",
                replace(setup, engine=replace(engine, share=share)),
            )
    for words, changed in _changes_of_training(config, shape, training):
        yield words, replace(setup, training=changed)
    if engine.bucket > 2**28:
        yield (
            f"lower {_ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes to 256",
            replace(setup, engine=replace(engine, bucket=2**28)),
        )


def _changes_of_training(
    config: DictConfig, shape: ModelShape, training: Training
) -> Iterator[tuple[str, Training]]:
    if not training.checkpoints_layers:
        yield (
            f"set {_MODEL}.enable_gradient_checkpointing=true",
            replace(training, checkpoints_layers=True),
        )
    if not training.fused and (shape.is_tied or config.actor_rollout_ref.actor.strategy == "fsdp"):
        yield f"set {_MODEL}.use_fused_kernels=true", replace(training, fused=True)
    if training.step_bytes and not training.lives_on_host:
        yield (
            f"set {_ACTOR}.optim.override_optimizer_config={{fused:true}}",
            replace(training, step_bytes=0),
        )
    actor, sections = config.actor_rollout_ref.actor, ["rollout"]
    for words, tokens in _fewer(actor, "ppo", actor.use_dynamic_bsz, training):
        changed = f"lower {_ACTOR}.{words}"
        yield changed, replace(training, update_tokens=min(tokens, training.update_tokens))
    if has_reference(config):
        sections.append("ref")
    named = " and ".join(f"actor_rollout_ref.{section}" for section in sections)
    reads = config.actor_rollout_ref[sections[-1]]
    for words, tokens in _fewer(reads, "log_prob", reads.log_prob_use_dynamic_bsz, training):
        changed = f"in {named} lower {words}"
        yield changed, replace(training, log_prob_tokens=min(tokens, training.log_prob_tokens))


def _fewer(
    section: DictConfig, prefix: str, dynamic: bool, training: Training
) -> Iterator[tuple[str, int]]:
    """Micro-batches halved down to one row: words, and their tokens on a GPU."""
    kind = "max_token_len_per_gpu" if dynamic else "micro_batch_size_per_gpu"
    value = section[f"{prefix}_{kind}"] or 0
    smallest = training.longest if dynamic else 1
    now = value
    while now > smallest:
        now = max(now // 2, smallest)
        yield (
            f"{prefix}_{kind} from {value} to {now}",
            now if dynamic else now * training.longest,
        )


def _changes_that_cost(config: DictConfig, setup: Setup) -> Iterator[tuple[str, Setup]]:
    """Time for copies between GPU and main memory, or more GPUs."""
    training, engine = setup.training, setup.engine
    if not training.optimizer_rests_on_host:
        changed = replace(training, optimizer_rests_on_host=True)
        yield f"set {_ENGINE}.optimizer_offload=true", replace(setup, training=changed)
        changed = replace(changed, weights_rest_on_host=True)
        yield (
            f"set {_ENGINE}.optimizer_offload=true and {_ENGINE}.param_offload=true",
            replace(setup, training=changed),
        )
    if not training.lives_on_host and config.actor_rollout_ref.actor.strategy == "fsdp2":
        changed = replace(
            training, weights_rest_on_host=True, optimizer_rests_on_host=True, lives_on_host=True
        )
        yield (
            f"set {_ENGINE}.offload_policy=true (slow: the optimiser step is on the CPU)",
            replace(setup, training=changed),
        )
    parts = config.trainer.n_gpus_per_node
    if engine.gpus < parts:
        yield (
            f"raise {_ROLLOUT}.tensor_model_parallel_size from {engine.gpus} to {parts}",
            replace(setup, engine=replace(engine, gpus=parts)),
        )
    for factor in (2, 4, 8):
        more = replace(training, gpus=factor * training.gpus, shards=factor * training.shards)
        yield (
            f"raise trainer.n_gpus_per_node from {parts} to {factor * parts}, or take as many "
            "machines with trainer.nnodes",
            replace(setup, training=more),
        )
