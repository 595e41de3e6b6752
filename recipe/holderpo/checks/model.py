"""Whether the model and the lengths fit each other and verl, as far as it can be known at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from omegaconf import DictConfig

_CONFIG = "config.json"


def model_problems(config: DictConfig) -> Iterator[str]:
    """Lengths, and settings the model's own configuration speaks against.

    Args:
        config: with counts that are numbers.

    Yields:
        One line per problem: field, value, fix.
    """
    yield from _lengths(config)
    facts = _model_facts(str(config.actor_rollout_ref.model.path))
    if facts is not None:
        yield from _facts(config, facts)


def model_warnings(config: DictConfig) -> list[str]:
    """Settings of the actor that verl's FSDP engine does not read.

    Args:
        config: a checked configuration.

    Returns:
        One line each.
    """
    actor = config.actor_rollout_ref.actor
    if actor.get("grad_clip") in (None, actor.optim.clip_grad):
        return []
    return [
        f"actor_rollout_ref.actor.grad_clip has no effect: verl clips the gradient at "
        f"actor.optim.clip_grad, {actor.optim.clip_grad}"
    ]


def _longest(config: DictConfig) -> int:
    return config.data.max_prompt_length + config.data.max_response_length


def _lengths(config: DictConfig) -> Iterator[str]:
    """What would cut responses short without a word, or stop a run at its first long response."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    longest = _longest(config)
    needed = f"{longest} tokens of data.max_prompt_length and max_response_length"
    if rollout.max_model_len is not None and rollout.max_model_len < longest:
        yield (
            f"actor_rollout_ref.rollout.max_model_len: {rollout.max_model_len}; responses would be "
            f"cut short, give at least the {needed}"
        )
    ranks_a_row = actor.get("ulysses_sequence_parallel_size", 1)
    budgets = {
        "actor.ppo_max_token_len_per_gpu": actor.use_dynamic_bsz,
        "rollout.log_prob_max_token_len_per_gpu": rollout.log_prob_use_dynamic_bsz,
    }
    for field, used in budgets.items():
        section, name = field.split(".")
        value = config.actor_rollout_ref[section][name]
        if used and value is not None and value * ranks_a_row < longest:
            yield (
                f"actor_rollout_ref.{field}: {value}; a micro-batch must take one row, give at "
                f"least the {needed}"
                + (f", over {ranks_a_row} ranks a row" if ranks_a_row > 1 else "")
            )


def _facts(config: DictConfig, facts: dict[str, Any]) -> Iterator[str]:
    model, actor = config.actor_rollout_ref.model, config.actor_rollout_ref.actor
    positions = facts.get("max_position_embeddings")
    wanted = config.actor_rollout_ref.rollout.max_model_len or _longest(config)
    if positions is not None and wanted > positions:
        yield (
            f"actor_rollout_ref.rollout.max_model_len: {wanted} tokens, but {model.path} has "
            f"{positions} positions; lower data.max_prompt_length or max_response_length"
        )
    # Absent means false for Qwen2, Qwen3 and Llama.
    tied = facts.get("tie_word_embeddings", False)
    if model.use_fused_kernels and actor.strategy == "fsdp2" and not tied:
        yield (
            f"actor_rollout_ref.model.use_fused_kernels: true, but {model.path} has an output "
            "layer of its own, which verl 0.9.1 does not gather under FSDP2; set it to false"
        )


def _model_facts(path: str) -> dict[str, Any] | None:
    """The model's ``config.json``, from its folder or the hub's cache; None if it is in neither."""
    folder = Path(path).expanduser()
    file: Any = folder / _CONFIG
    if not folder.exists() and path.count("/") <= 1 and "://" not in path:
        file = try_to_load_from_cache(path, _CONFIG)
    if not isinstance(file, str | Path) or not Path(file).exists():
        return None
    return json.loads(Path(file).read_text())
