"""Whether the model and the lengths fit each other and verl, as far as it can be known at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from omegaconf import DictConfig

from recipe.holderpo.checks.batches import has_reference

_CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"


def model_problems(config: DictConfig) -> Iterator[str]:
    """Lengths, and settings the model's own configuration speaks against.

    Args:
        config: with counts that are numbers.

    Yields:
        One line per problem: field, value, fix.
    """
    yield from _lengths(config)
    model = config.actor_rollout_ref.model
    try:
        facts = read_json_of(str(model.hf_config_path or model.path), _CONFIG)
        tokenizer = read_json_of(str(model.tokenizer_path or model.path), _TOKENIZER)
    except ValueError as error:
        yield f"actor_rollout_ref.model.path: {model.path}; {error}: copy the model again"
        return
    if facts is None:
        return
    # Models of images and text keep those of the text in a section of its own.
    facts = {**(facts.get("text_config") or {}), **facts}
    yield from _positions(config, facts)
    yield from _facts(config, facts)
    yield from _heads(config, facts)
    if tokenizer is not None:
        yield from _vocabulary(config, facts, tokenizer)


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
    ref = config.actor_rollout_ref.ref
    budgets = {
        "actor.ppo_max_token_len_per_gpu": actor.use_dynamic_bsz,
        "rollout.log_prob_max_token_len_per_gpu": rollout.log_prob_use_dynamic_bsz,
        "ref.log_prob_max_token_len_per_gpu": (
            has_reference(config) and ref.log_prob_use_dynamic_bsz
        ),
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


def _positions(config: DictConfig, facts: Mapping[str, Any]) -> Iterator[str]:
    """Verl refuses more than it reads there, whatever the rope scaling."""
    positions = facts.get("max_position_embeddings")
    wanted = config.actor_rollout_ref.rollout.max_model_len or _longest(config)
    if positions is None or wanted <= positions:
        return
    scaling = facts.get("rope_scaling") or facts.get("rope_parameters") or {}
    is_scaled = scaling.get("factor") is not None
    yield (
        f"actor_rollout_ref.rollout.max_model_len: {wanted} tokens, but "
        f"{config.actor_rollout_ref.model.path} has {positions} positions"
        + (" (verl 0.9.1 does not count its rope scaling)" if is_scaled else "")
        + "; lower data.max_prompt_length or max_response_length"
        + (f", or raise max_position_embeddings in its {_CONFIG}" if is_scaled else "")
    )


def _facts(config: DictConfig, facts: Mapping[str, Any]) -> Iterator[str]:
    model, actor = config.actor_rollout_ref.model, config.actor_rollout_ref.actor
    # Absent means false for Qwen2, Qwen3 and Llama.
    tied = facts.get("tie_word_embeddings", False)
    if model.use_fused_kernels and actor.strategy == "fsdp2" and not tied:
        yield (
            f"actor_rollout_ref.model.use_fused_kernels: true, but {model.path} has an output "
            "layer of its own, which verl 0.9.1 does not gather under FSDP2; set it to false"
        )


def _heads(config: DictConfig, facts: Mapping[str, Any]) -> Iterator[str]:
    """Attention is divided by heads, in training and in the rollout engine."""
    path, heads = config.actor_rollout_ref.model.path, facts.get("num_attention_heads")
    if not isinstance(heads, int):
        return
    key_heads = facts.get("num_key_value_heads") or heads
    parts = {
        "actor.ulysses_sequence_parallel_size": (
            config.actor_rollout_ref.actor.ulysses_sequence_parallel_size
        ),
        "rollout.tensor_model_parallel_size": (
            config.actor_rollout_ref.rollout.tensor_model_parallel_size
        ),
    }
    for field, size in parts.items():
        if not divides_heads(size, heads, key_heads):
            yield (
                f"actor_rollout_ref.{field}: {size}; {path} has {heads} attention heads and "
                f"{key_heads} of keys and values, give a number that divides both"
            )


def divides_heads(size: int, heads: int, key_heads: int) -> bool:
    """Whether so many GPUs can share an attention layer; heads of keys and values may be copied."""
    return heads % size == 0 and (key_heads % size == 0 or size % key_heads == 0)


def _vocabulary(
    config: DictConfig, facts: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> Iterator[str]:
    size = facts.get("vocab_size")
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    if not isinstance(size, int) or not isinstance(vocabulary, dict):
        return
    added = [token["id"] for token in tokenizer.get("added_tokens") or []]
    largest = max([*vocabulary.values(), *added], default=-1)
    if largest >= size:
        model = config.actor_rollout_ref.model
        yield (
            f"actor_rollout_ref.model.path: {model.path} has embeddings for {size} tokens, its "
            f"tokenizer knows token {largest}; give a tokenizer of this model (tokenizer_path)"
        )


def read_json_of(path: str, name: str) -> dict[str, Any] | None:
    """A model's file of JSON, from its folder or the hub's cache; None if it is in neither."""
    folder = Path(path).expanduser()
    file: Any = folder / name
    if not folder.exists():
        try:
            file = try_to_load_from_cache(path, name)
        except HFValidationError:
            # No name of the hub either: said where the paths are looked at.
            return None
    if not isinstance(file, str | Path) or not Path(file).exists():
        return None
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"its {name} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"its {name} is damaged (no object)")
    return content
