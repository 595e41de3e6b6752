"""Which implementation of attention the actor and the reference model run with."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.batches import has_reference

ATTENTION = "actor_rollout_ref.model.override_config.attn_implementation"
# Also verl's default, where none is named.
FLASH_2, SDPA = "flash_attention_2", "sdpa"
# verl's names of the type.
_FLOAT32 = (32, "32", "fp32", "float32")


def attention(config: DictConfig) -> str:
    """The implementation of attention; verl's default where none is named."""
    return str(OmegaConf.select(config, ATTENTION) or FLASH_2)


def is_flash(name: str) -> bool:
    """Whether transformers takes a name for flash attention, also one of a kernel on the hub.

    **Source**: ``transformers.utils.generic.is_flash_attention_requested`` (5.9.0).
    """
    return "flash" in name


def types_in_float32(config: DictConfig) -> Iterator[str]:
    """Which models compute their forward pass in float32; bfloat16 is verl's default.

    Args:
        config: as composed.

    Yields:
        The setting that says so, of the actor and of the reference model if there is one.
    """
    for role in ("actor", "ref") if has_reference(config) else ("actor",):
        section = f"actor_rollout_ref.{role}.fsdp_config.mixed_precision"
        # verl's configurations do not have the section.
        given = OmegaConf.select(config, section)
        if isinstance(given, DictConfig) and given.get("param_dtype") in _FLOAT32:
            yield f"{section}.param_dtype"


def default_attention(config: DictConfig, *, has_flash: bool) -> str:
    """What is taken where nothing is given.

    Args:
        config: as composed.
        has_flash: whether flash-attn is installed where the run computes.

    Returns:
        A name of transformers.
    """
    if any(types_in_float32(config)):
        return SDPA
    # Only flash attention exchanges the parts of a response: without it such a run cannot start.
    is_shared = config.actor_rollout_ref.actor.ulysses_sequence_parallel_size != 1
    return FLASH_2 if is_shared or has_flash else SDPA


def cost_of_sdpa(config: DictConfig) -> tuple[str, str]:
    """What attention takes without flash-attn, and the setting that lowers it.

    **Source**: derived: flash attention is causal within each row, L^2/2 products for a row of L
    tokens and N L/2 for N tokens of such rows. transformers' sdpa gets a mask of N x N for a pack
    of several rows, and computes all N^2 products: 2N/L times as many.

    Args:
        config: a checked configuration.

    Returns:
        A part of a sentence, and a dotted name.
    """
    longest = config.data.max_prompt_length + config.data.max_response_length
    tokens, field = _largest_pack(config, longest)
    if not config.actor_rollout_ref.model.use_remove_padding:
        return "over rows padded to the longest one", field
    if tokens <= longest:
        return f"over micro-batches of up to {tokens:,} tokens", field
    return (
        f"over whole micro-batches of up to {tokens:,} tokens, {2 * tokens / longest:.0f} times "
        f"its arithmetic for rows of {longest:,} tokens, more for shorter ones, and a mask of "
        f"{_in_bytes(tokens**2)}"
    ), field


def _largest_pack(config: DictConfig, longest: int) -> tuple[int, str]:
    """Tokens of the largest micro-batch, and the setting that cuts it."""
    actor = config.actor_rollout_ref.actor
    where = "actor_rollout_ref.actor"
    if actor.use_dynamic_bsz:
        return actor.ppo_max_token_len_per_gpu, f"{where}.ppo_max_token_len_per_gpu"
    rows = actor.ppo_micro_batch_size_per_gpu
    return rows * longest, f"{where}.ppo_micro_batch_size_per_gpu"


def _in_bytes(number: int) -> str:
    return f"{number / 1e6:,.0f} MB"
