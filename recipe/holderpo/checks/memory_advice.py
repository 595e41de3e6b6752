"""Which setting to change where a run does not fit a GPU: each is tried on the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from holderpo.memory.gpu_memory import ANSWERING, USABLE, GpuMemory, gpu_memory
from holderpo.memory.sizes import ModelShape, RolloutEngine, Training
from recipe.holderpo.checks.memory_settings import log_prob_tokens
from recipe.holderpo.checks.model import divides_heads

_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
_MODEL, _ENGINE = "actor_rollout_ref.model", f"{_ACTOR}.fsdp_config"
SHARE = f"{_ROLLOUT}.gpu_memory_utilization"
# Optimisers of torch with one kernel for a step on a GPU.
_HAVE_FUSED = ("Adam", "AdamW", "SGD")
_BUDGET = "max_token_len_per_gpu"
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
    over = list(memory.above(USABLE * card))
    if ANSWERING not in over and not memory.has_room(setup.engine):
        over.append(ANSWERING)
    return over


def larger_engines(config: DictConfig, setup: Setup) -> list[int]:
    """Numbers of GPUs above the present one that a copy of the engine's model can be spread over.

    Args:
        config: of the run.
        setup: of the run.

    Returns:
        Those that divide a machine's GPUs and the model's heads, the smallest first.
    """
    per_machine, shape = config.trainer.n_gpus_per_node, setup.shape
    copies = config.actor_rollout_ref.rollout.data_parallel_size
    return [
        size
        for size in range(setup.engine.gpus + 1, per_machine + 1)
        if per_machine % (size * copies) == 0
        and divides_heads(size, shape.heads, shape.key_value_heads)
    ]


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
        optimiser = config.actor_rollout_ref.actor.optim.optimizer
        own = "fused:true" if optimiser in _HAVE_FUSED else "foreach:false"
        yield (
            f"set {_ACTOR}.optim.override_optimizer_config={{{own}}}",
            replace(training, step_bytes=0),
        )
    update = {"actor": training.update_tokens}
    for words, tokens in _fewer(config, update, "ppo", training):
        yield words, replace(training, update_tokens=tokens)
    for words, tokens in _fewer(config, log_prob_tokens(config), "log_prob", training):
        yield words, replace(training, log_prob_tokens=tokens)


def _fewer(
    config: DictConfig, tokens: dict[str, int], prefix: str, training: Training
) -> Iterator[tuple[str, int]]:
    """Micro-batches halved down to one row, in each section that has larger ones.

    Args:
        config: of the run.
        tokens: of the micro-batches of each section.
        prefix: of the names of their settings.
        training: for the longest row.

    Yields:
        Words, and tokens on a GPU that no section is above then.
    """
    sections = {name: config.actor_rollout_ref[name] for name in tokens}
    fields = {name: _field(section, prefix) for name, section in sections.items()}
    most = max(
        sections[name][field] if field.endswith(_BUDGET) else tokens[name]
        for name, field in fields.items()
    )
    while most > training.longest:
        most = max(most // 2, training.longest)
        larger = [name for name, held in tokens.items() if held > most]
        for_each = [
            f"lower actor_rollout_ref.{name}.{fields[name]} from {sections[name][fields[name]]} to "
            f"{most if fields[name].endswith(_BUDGET) else most // training.longest}"
            for name in larger
        ]
        if larger:
            yield " and ".join(for_each), most


def _field(section: DictConfig, prefix: str) -> str:
    """The setting that micro-batches follow from."""
    dynamic = section["use_dynamic_bsz" if prefix == "ppo" else f"{prefix}_use_dynamic_bsz"]
    return f"{prefix}_{_BUDGET if dynamic else 'micro_batch_size_per_gpu'}"


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
    if larger := larger_engines(config, setup):
        yield (
            f"raise {_ROLLOUT}.tensor_model_parallel_size from {engine.gpus} to {larger[-1]}",
            replace(setup, engine=replace(engine, gpus=larger[-1])),
        )
    for words, spread in _over_more_gpus(config, training):
        yield words, replace(setup, training=spread)


def _over_more_gpus(config: DictConfig, training: Training) -> Iterator[tuple[str, Training]]:
    """Of the present ones first, where each holds more of a copy than it has to."""
    size = f"{_ENGINE}.fsdp_size"
    if training.shards < training.gpus:
        yield (
            f"raise {size} from {training.shards} to {training.gpus}",
            replace(training, shards=training.gpus),
        )
    here = config.trainer.n_gpus_per_node
    is_fixed = config.actor_rollout_ref.actor.fsdp_config.fsdp_size > 0
    for factor in (2, 4, 8):
        gpus, reference = factor * training.gpus, training.reference
        if reference is not None and reference.shards == training.gpus:
            reference = replace(reference, shards=gpus)
        yield (
            f"raise trainer.n_gpus_per_node from {here} to {factor * here}, or take as many "
            "machines with trainer.nnodes" + (f", and {size}={gpus}" if is_fixed else ""),
            replace(training, gpus=gpus, shards=gpus, reference=reference),
        )
