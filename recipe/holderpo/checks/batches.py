"""Whether the batches divide as verl and its engine need it."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.asynchronous import is_asynchronous
from recipe.holderpo.checks.kinds import is_count


def batch_size_problems(config: DictConfig) -> Iterator[str]:
    """Sizes of batches that do not divide each other.

    Args:
        config: with counts that are counts.

    Yields:
        One line per problem: field, value, fix.
    """
    actor, rollout, data = (
        config.actor_rollout_ref.actor,
        config.actor_rollout_ref.rollout,
        config.data,
    )
    if rollout.n < 2:
        yield (
            f"actor_rollout_ref.rollout.n: {rollout.n}; "
            "a group-relative advantage needs at least 2 responses per prompt"
        )
    # An agent's round has a row for each turn, which verl fills up to whole mini-batches.
    elif has_agent(config) or data.train_batch_size % actor.ppo_mini_batch_size == 0:
        yield from _micro_batches(config)
    if not has_agent(config) and data.train_batch_size % actor.ppo_mini_batch_size:
        yield (
            f"actor_rollout_ref.actor.ppo_mini_batch_size: {actor.ppo_mini_batch_size}; give a "
            f"number of prompts that divides data.train_batch_size ({data.train_batch_size})"
        )
    one_by_one = takes_prompts_one_by_one(config)
    if data.gen_batch_size and data.train_batch_size % data.gen_batch_size and not one_by_one:
        yield (
            f"data.gen_batch_size: {data.gen_batch_size}; give null, or a number of prompts that "
            f"divides data.train_batch_size ({data.train_batch_size})"
        )


def takes_prompts_one_by_one(config: DictConfig) -> bool:
    """Whether verl fetches prompts one at a time, whatever ``data.gen_batch_size`` says."""
    return bool(
        config.algorithm.filter_groups.enable
        or config.trainer.v1.sampler.sync_refill_failed_groups
        or is_asynchronous(config)
    )


def has_reference(config: DictConfig) -> bool:
    """Whether a reference model computes log-probabilities too.

    With adapters the actor does that without them, by its own settings.
    """
    return has_kl(config) and not config.actor_rollout_ref.model.lora_rank


def has_kl(config: DictConfig) -> bool:
    """Whether loss or reward have a distance to the model that the run began with."""
    return bool(config.actor_rollout_ref.actor.use_kl_loss or config.algorithm.use_kl_in_reward)


def signal_share(num_responses: int, success: float) -> float:
    """Share of groups whose responses do not all get the same reward of 0 or 1.

    **Source**: derived: ``1 - q^n - (1 - q)^n`` for independent responses.

    Args:
        num_responses: n, of a group.
        success: q, probability of a reward of 1.

    Returns:
        A share in [0, 1].
    """
    return 1 - success**num_responses - (1 - success) ** num_responses


def _micro_batches(config: DictConfig) -> Iterator[str]:
    """Verl's own divisibility rules, which it would only assert after the whole start-up."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    ranks = max(devices // actor.ulysses_sequence_parallel_size, 1)
    update_rows = actor.ppo_mini_batch_size * rollout.n
    batch_rows = update_rows if has_agent(config) else config.data.train_batch_size * rollout.n
    if update_rows % ranks:
        yield (
            f"trainer.n_gpus_per_node * trainer.nnodes: {ranks} data-parallel ranks; must divide "
            f"the {update_rows} rows of an update (ppo_mini_batch_size * rollout.n)"
        )
        return
    if not actor.use_dynamic_bsz:
        yield from _divides(config, "actor.ppo_micro_batch_size_per_gpu", update_rows // ranks)
    if not rollout.log_prob_use_dynamic_bsz:
        yield from _divides(
            config, "rollout.log_prob_micro_batch_size_per_gpu", batch_rows // ranks
        )
    if has_reference(config) and not config.actor_rollout_ref.ref.log_prob_use_dynamic_bsz:
        yield from _divides(config, "ref.log_prob_micro_batch_size_per_gpu", batch_rows // ranks)


def _divides(config: DictConfig, field: str, rows: int) -> Iterator[str]:
    value = OmegaConf.select(config.actor_rollout_ref, field)
    if not is_count(value) or rows % value:
        yield (
            f"actor_rollout_ref.{field}: {value!r}; give a number that divides the {rows} rows "
            "of each rank"
        )
