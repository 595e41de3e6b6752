"""What attention takes where there is no flash-attn."""

from __future__ import annotations

from omegaconf import DictConfig

from recipe.holderpo.checks.memory_settings import longest_row, update_tokens


def cost_of_sdpa(config: DictConfig) -> str:
    """What is computed in place of each row by itself.

    **Source**: derived: flash attention is causal within each row, L^2/2 products for a row of L
    tokens and N L/2 for N tokens of such rows. transformers' sdpa gets a mask of N x N for a pack
    of several rows, of a byte each, and computes all N^2 products: 2N/L times as many.

    Args:
        config: a checked configuration.

    Returns:
        A part of a sentence.
    """
    tokens, longest = update_tokens(config), longest_row(config)
    if not config.actor_rollout_ref.model.use_remove_padding:
        return "over rows padded to the longest one"
    if tokens <= longest:
        return f"over micro-batches of up to {tokens:,} tokens"
    return (
        f"over whole micro-batches of up to {tokens:,} tokens, {2 * tokens / longest:.0f} times "
        f"its arithmetic for rows of {longest:,} tokens, more for shorter ones, and a mask of "
        f"{tokens**2 / 1e6:,.0f} MB"
    )


def setting_of_its_size(config: DictConfig) -> str:
    """The setting that cuts micro-batches."""
    is_dynamic = config.actor_rollout_ref.actor.use_dynamic_bsz
    name = "ppo_max_token_len_per_gpu" if is_dynamic else "ppo_micro_batch_size_per_gpu"
    return f"actor_rollout_ref.actor.{name}"
