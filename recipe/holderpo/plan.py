"""The numbers that follow from a configuration, shown before a run starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from holderpo.schedule import build_schedule
from recipe.holderpo.settings import HOLDER, p_settings


@dataclass(frozen=True)
class Plan:
    """Derived numbers of a run and what is odd about them."""

    lines: tuple[str, ...]
    """Short description, one fact a line."""
    warnings: tuple[str, ...]
    """Settings that will have no effect, or not the expected one."""
    rollouts_per_step: int
    """Responses a rollout round."""
    updates_per_step: int
    """Optimiser steps a rollout round."""


def make_plan(config: DictConfig) -> Plan:
    """Derive the plan of a checked configuration.

    Args:
        config: with valid sections.

    Returns:
        The plan.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    steps = config.trainer.total_training_steps
    updates = math.ceil(config.data.train_batch_size / actor.ppo_mini_batch_size) * actor.ppo_epochs
    schedule = build_schedule(p_settings(config), num_rounds=steps)
    is_holder = actor.policy_loss.loss_mode == HOLDER
    first, last = schedule.value(0), schedule.value(steps - 1)
    reaches_end = schedule.last_step <= steps - 1
    ends = f", at its end from round {schedule.last_step + 1} on" if reaches_end else ""

    lines = (
        f"model      {config.actor_rollout_ref.model.path}",
        f"data       {config.data.train_files} (held out: {config.data.val_files})",
        f"loss       {actor.policy_loss.loss_mode}, clip {actor.clip_ratio_low} low "
        f"{actor.clip_ratio_high} high, learning rate {actor.optim.lr}",
        f"rollouts   {config.data.train_batch_size} prompts x {rollout.n} responses, "
        f"at most {config.data.max_response_length} tokens each",
        f"updates    {updates} a rollout batch, {actor.ppo_mini_batch_size * rollout.n} responses "
        "each",
        f"p          {first:+g} to {last:+g} over {steps} rollout rounds"
        + (ends if is_holder else " (not used by this loss)"),
        f"devices    {config.trainer.nnodes} x {config.trainer.n_gpus_per_node} {config.device}",
        f"seed       {config.seed}",
        f"output     {config.run_dir}",
    )
    warnings = []
    if is_holder and updates == 1:
        warnings.append(
            "p has no effect: with one update a rollout batch every ratio is 1 "
            "(lower actor_rollout_ref.actor.ppo_mini_batch_size)"
        )
    if is_holder and not reaches_end:
        warnings.append(
            f"the schedule of p does not finish: it ends after {schedule.last_step} rounds, "
            f"the run after {steps} (set p.steps=whole_run)"
        )
    if config.advantage.transforms and config.algorithm.adv_estimator != HOLDER:
        warnings.append(
            "advantage.transforms has no effect: it belongs to algorithm.adv_estimator=holder"
        )
    return Plan(lines, tuple(warnings), config.data.train_batch_size * rollout.n, updates)
