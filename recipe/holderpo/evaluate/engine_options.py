"""How a command line says on what, and how, vLLM runs a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from recipe.holderpo.evaluate.evaluation_folder import PlanError
from recipe.holderpo.evaluate.generation import CPU, CUDA, DTYPES, EngineSettings
from recipe.holderpo.evaluate.weights import Model

# Of options that are never left open.
DEFAULTS: Mapping[str, int] = {"max_num_seqs": 256, "tensor_parallel_size": 1}


def add_engine_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, length: str, at_a_time: str
) -> None:
    """Options of vLLM.

    Args:
        parser: to which they are added, or a group of its options.
        length: what ``--max-model-len`` is without the option.
        at_a_time: what ``--max-num-seqs`` counts.
    """
    add = parser.add_argument
    add("--device", choices=[CPU, CUDA], help="default: cuda if there is a GPU")
    add(
        "--dtype",
        choices=DTYPES,
        help="default: float32 on cpu, auto on cuda, which is the checkpoint's",
    )
    add("--max-model-len", type=int, help=f"of prompt and answer (default: {length})")
    for name, help_text in (("max_num_seqs", at_a_time), ("tensor_parallel_size", "GPUs")):
        option, default = f"--{name.replace('_', '-')}", DEFAULTS[name]
        add(option, type=int, default=default, help=f"{help_text} (default: %(default)s)")
    add("--gpu-memory-utilization", type=float, help="share of a GPU's memory (default: 0.9)")


def choose_device(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The device, and what is wrong with the options about it.

    Args:
        arguments: with the options of :func:`add_engine_options`.

    Returns:
        ``cpu`` or ``cuda``, and a sentence for each problem.
    """
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device: str = arguments.device or (CUDA if num_gpus else CPU)
    wanted, share = arguments.tensor_parallel_size, arguments.gpu_memory_utilization
    if device == CUDA and not num_gpus:
        return device, ["--device: cuda, but torch sees no GPU here; give --device cpu"]
    problems = []
    if device == CPU and share is not None:
        problems.append(f"--gpu-memory-utilization: {share} has no effect on a CPU; leave it out")
    elif share is not None and not 0 < share <= 1:
        problems.append(f"--gpu-memory-utilization: {share}; give a share above 0 and up to 1")
    most = num_gpus if device == CUDA else 1
    if wanted > most:
        problems.append(
            f"--tensor-parallel-size: {wanted}, but there "
            + (f"are {most} GPUs" if device == CUDA else "is a CPU")
            + f"; give at most {most}"
        )
    return device, problems


def choose_dtype(arguments: argparse.Namespace, device: str) -> str:
    """Type of the weights, one of :data:`DTYPES`.

    Args:
        arguments: with the options of :func:`add_engine_options`.
        device: ``cpu`` or ``cuda``.

    Returns:
        What was asked for, or what is usual on the device.
    """
    return str(arguments.dtype or ("float32" if device == CPU else "auto"))


def load_tokenizer(option: str, model: Model) -> tuple[Any, Any]:
    """Configuration and tokenizer.

    Args:
        option: that names the model.
        model: where it is.

    Returns:
        Both, from transformers.

    Raises:
        PlanError: if they cannot be loaded.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision)
        tokenizer = AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise PlanError([f"{option}: {model.path} cannot be loaded ({why})"]) from error
    return config, tokenizer


def longest_context(max_model_len: int | None, model: Model, config: Any) -> int:
    """Longest prompt plus answer that the model takes.

    Args:
        max_model_len: as asked for; None is as many as the model has.
        model: where it is.
        config: from transformers.

    Returns:
        Tokens.

    Raises:
        PlanError: if the model has fewer, or does not say.
    """
    text_config = config.get_text_config()
    positions: int | None = getattr(text_config, "max_position_embeddings", None)
    wanted: int | None = max_model_len
    allowed = os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1"
    scaled = "factor" in (getattr(text_config, "rope_scaling", None) or {})
    if wanted is None and positions is None:
        raise PlanError([f"--max-model-len: {model.path} does not say its length; give it"])
    if wanted and positions and wanted > positions and not (allowed or scaled):
        raise PlanError(
            [
                f"--max-model-len: {wanted}, but {model.path} has {positions} positions; give at "
                "most that, or set VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"
            ]
        )
    context = wanted or positions
    assert context is not None
    return context


def engine_settings(
    arguments: argparse.Namespace,
    model: Model,
    *,
    device: str,
    dtype: str,
    max_model_len: int,
    batch_invariant: bool = False,
) -> EngineSettings:
    """What vLLM is started with.

    Args:
        arguments: with the options of :func:`add_engine_options`.
        model: where it is.
        device: ``cpu`` or ``cuda``.
        dtype: of the weights.
        max_model_len: longest prompt plus answer wanted, tokens.
        batch_invariant: whether an answer does not depend on what else is under way.

    Returns:
        Settings of the engine.
    """
    return EngineSettings(
        model=model.path,
        revision=model.revision,
        device=device,
        dtype=dtype,
        max_model_len=max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        tensor_parallel_size=arguments.tensor_parallel_size,
        gpu_memory_utilization=arguments.gpu_memory_utilization,
        batch_invariant=batch_invariant,
    )
