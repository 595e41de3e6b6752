"""What a machine's main memory and the disk have to hold, as arithmetic; sizes in bytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from holderpo.memory.sizes import GIB, ModelShape, Training

# Assumed: main memory of a process that has imported torch, verl or vLLM, and of one with a GPU.
PROCESS, GPU_PROCESS = GIB, 3 * GIB


@dataclass(frozen=True)
class HostMemory:
    """Main memory of one machine."""

    loading: int
    """Copies of the model while the ranks load it."""
    staying: int
    """What is offloaded, the reference model, and weights of sleeping engines."""
    processes: int

    @property
    def peak(self) -> int:
        """Of the larger moment."""
        return max(self.loading, self.staying) + self.processes


def host_memory(
    shape: ModelShape,
    training: Training,
    *,
    machines: int,
    processes: int,
    reference_bytes: int | None = None,
    engine_weights: int = 0,
) -> HostMemory:
    """Expected main memory of one machine.

    Args:
        shape: of the model.
        training: of the actor.
        machines: that share the GPUs evenly.
        processes: without a GPU.
        reference_bytes: of one number of the reference model, which verl keeps in main memory; None
            without one.
        engine_weights: that a sleeping engine keeps there for each GPU.

    Returns:
        Its parts.
    """
    gpus = training.gpus // machines
    whole = shape.parameters + shape.adapter_parameters
    # Where the output layer is the embedding, verl lets every rank load the model.
    copies = gpus if shape.is_tied else 1
    per_copy = 0
    if training.weights_rest_on_host:
        per_copy += whole * training.weight_bytes
    if training.optimizer_rests_on_host:
        per_copy += shape.trained * training.state_bytes
    if training.lives_on_host:
        per_copy += shape.trained * training.weight_bytes
    per_copy += shape.parameters * (reference_bytes or 0)
    return HostMemory(
        loading=copies * whole * max(training.weight_bytes, reference_bytes or 0),
        staying=gpus * (per_copy // training.shards + engine_weights),
        processes=processes * PROCESS + gpus * GPU_PROCESS,
    )


def checkpoint_bytes(
    shape: ModelShape, training: Training, contents: Collection[str], *, adapter_only: bool = False
) -> int:
    """Disk of one checkpoint.

    Args:
        shape: of the model.
        training: of the actor.
        contents: verl's ``save_contents``.
        adapter_only: of LoRA, verl's ``save_lora_only``.

    Returns:
        Bytes on all machines; each copy of the actor writes its own files.
    """
    whole = shape.parameters + shape.adapter_parameters
    of_model = shape.adapter_parameters if adapter_only and shape.adapter_parameters else whole
    per_copy = of_model * training.weight_bytes * ("model" in contents)
    per_copy += shape.trained * training.state_bytes * ("optimizer" in contents)
    copies = max(training.gpus // training.shards, 1)
    return copies * per_copy + whole * training.weight_bytes * ("hf_model" in contents)
