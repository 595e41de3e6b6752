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
