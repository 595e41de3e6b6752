"""How a model plays ALFWorld: its options, and what it must have."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from holderpo.alfworld.actions import ActionSettings
from holderpo.benchmarks.panels import Sampling
from recipe.holderpo.evaluate.alfworld.turn_texts import TurnTexts, turn_texts
from recipe.holderpo.evaluate.engine_options import choose_dtype, load_tokenizer, longest_context
from recipe.holderpo.evaluate.evaluation_folder import PlanError
from recipe.holderpo.evaluate.generation import CUDA
from recipe.holderpo.evaluate.weights import Model

# Room for a prompt unless --max-model-len says otherwise; official games need up to 1,310.
PROMPT_TOKENS = 2048
DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.0,
    "max_tokens": 512,
}
# Options that only a model has, where they are given.
OF_A_MODEL = (
    *DEFAULTS,
    *("turn_prompt", "history_length", "strictness"),
    *("revision", "device", "dtype", "max_model_len", "gpu_memory_utilization"),
    "batch_invariant",
)


@dataclass(frozen=True)
class ModelPlan:
    """How a model plays."""

    model: Model
    """Where it is."""
    device: str
    """``cpu`` or ``cuda``."""
    dtype: str
    """Of the weights."""
    context: int
    """Longest prompt plus answer, tokens."""
    batch_invariant: bool
    """Whether vLLM's answers do not depend on what else is under way."""
    tokenizer: Any
    """From transformers."""
    sampling: Sampling
    """How answers are drawn."""
    texts: TurnTexts
    """What it is told, and how its answers are read."""

    def settings(self) -> dict[str, Any]:
        """What makes its turns; see :mod:`holderpo.records_folder`."""
        prompts, actions = self.texts.prompts, self.texts.actions
        texts = [prompts.first, prompts.later, self.tokenizer.chat_template]
        if given := self.texts.chat_template:
            texts.append(json.dumps(given, sort_keys=True))
        return {
            "model": self.model.identity(),
            "engine": {
                "device": self.device,
                "dtype": self.dtype,
                "context": self.context,
                "batch_invariant": self.batch_invariant,
            },
            "turns": {
                "history_length": prompts.history_length,
                "templates_sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
                "strictness": _reading(actions),
                "temperature": self.sampling.temperature,
                "max_tokens": self.sampling.max_tokens,
            },
        }


def model_problems(arguments: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the options, before a model is looked at.

    Args:
        arguments: of the command line.

    Yields:
        A sentence each.
    """
    if arguments.history_length is not None and arguments.history_length < 0:
        yield f"--history-length: {arguments.history_length}; give 0 or more"
    try:
        _sampling(arguments)
    except ValueError as error:
        yield f"--{error}"


def make_model_plan(arguments: argparse.Namespace, model: Model, device: str) -> ModelPlan:
    """What needs the model's configuration and tokenizer.

    Args:
        arguments: of the command line, without :func:`model_problems`.
        model: where it is.
        device: ``cpu`` or ``cuda``.

    Returns:
        The plan.

    Raises:
        PlanError: if it cannot play.
    """
    config, tokenizer = load_tokenizer("--policy", model)
    if not tokenizer.chat_template:
        raise PlanError([f"--policy: {model.path} has no chat template, which the prompts need"])
    try:
        texts = turn_texts(arguments, model)
    except ValueError as error:
        raise PlanError(str(error).splitlines()) from error
    sampling = _sampling(arguments)
    context = longest_context(arguments.max_model_len, model, config)
    if arguments.max_model_len is None:
        context = min(context, PROMPT_TOKENS + sampling.max_tokens)
    if context <= sampling.max_tokens:
        raise PlanError(
            [
                f"--max-tokens: {sampling.max_tokens} of {context} tokens leave no room for a "
                "prompt; give fewer, or a larger --max-model-len"
            ]
        )
    return ModelPlan(
        model=model,
        device=device,
        dtype=choose_dtype(arguments, device),
        context=context,
        batch_invariant=device == CUDA and arguments.batch_invariant is not False,
        tokenizer=tokenizer,
        sampling=sampling,
        texts=texts,
    )


def model_notes(arguments: argparse.Namespace, model: ModelPlan) -> Iterator[str]:
    """What should be known beside the numbers.

    Args:
        arguments: of the command line.
        model: the plan.

    Yields:
        A sentence each.
    """
    source = model.texts.source or "the reference's"
    yield f"What the model is told, and how it is read: {source}."
    room = model.context - model.sampling.max_tokens
    yield (
        f"A prompt may have {room} tokens (context of {model.context} less --max-tokens); an "
        "episode whose next prompt is longer ends there (no room), as not won."
    )
    if model.sampling.greedy and arguments.passes > 1:
        yield f"--passes {arguments.passes}: all answers are greedy, so the passes are alike."
    if model.device != CUDA and arguments.batch_invariant:
        yield "--batch-invariant has no effect on a CPU."


def _reading(actions: ActionSettings) -> str:
    """How actions are read; the wording is named where it is not what the level does by itself."""
    level = actions.strictness
    if actions.accepts_other_wording == ActionSettings(level).accepts_other_wording:
        return level
    return f"{level}, {'with' if actions.accepts_other_wording else 'without'} other wording"


def _given(arguments: argparse.Namespace, name: str) -> Any:
    value = getattr(arguments, name)
    return DEFAULTS[name] if value is None else value


def _sampling(arguments: argparse.Namespace) -> Sampling:
    return Sampling(
        temperature=_given(arguments, "temperature"),
        max_tokens=max(1, _given(arguments, "max_tokens")),
    )
