"""The numbers that follow from a configuration, shown before a run starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig

from holderpo.control import Controller
from holderpo.control.schedule import Schedule
from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.agent import agent_warnings
from recipe.holderpo.checks.asynchronous import asynchronous_warnings, describe_trainer
from recipe.holderpo.checks.batches import signal_share
from recipe.holderpo.checks.data import Data
from recipe.holderpo.checks.defaults import changed_settings
from recipe.holderpo.checks.first_prompts import FirstPrompt, FirstPrompts
from recipe.holderpo.checks.from_machine import FromMachine
from recipe.holderpo.checks.games import Games, games_lines
from recipe.holderpo.checks.learning_rate import first_full_round, rate_share, warm_up_rounds
from recipe.holderpo.checks.loss_settings import loss_warnings
from recipe.holderpo.checks.memory import plan_memory
from recipe.holderpo.checks.resume import Start, resume_warnings
from recipe.holderpo.checks.rollout_settings import rollout_warnings
from recipe.holderpo.checks.turn_budget import turn_budget
from recipe.holderpo.checks.turn_settings import describe_credit, turn_warnings
from recipe.holderpo.checks.unread import unread_warnings
from recipe.holderpo.run.ray_settings import unread_settings
from recipe.holderpo.sections import HOLDER, POWER_MEAN, advantage_settings


@dataclass(frozen=True)
class Plan:
    """Derived numbers of a run and what is odd about them."""

    lines: tuple[str, ...]
    """Short description, one fact per line."""
    warnings: tuple[str, ...]
    """Settings that will have no effect, or not the expected one."""
    controller: Controller
    """Of p; the one that the run is to use."""
    start: Start
    """Where the run begins."""
    first_prompts: tuple[FirstPrompt, ...] = ()
    """What an agent is told first, for each task type."""


def rollouts_per_step(config: DictConfig) -> int:
    """Responses per rollout round."""
    return int(config.data.train_batch_size * config.actor_rollout_ref.rollout.n)


def updates_per_step(config: DictConfig) -> int:
    """Optimiser steps per rollout round; of an agent, for the turns that its plan assumes."""
    if has_agent(config):
        budget = turn_budget(config)
        return budget.updates(budget.assumed_turns)
    actor = config.actor_rollout_ref.actor
    mini_batches = math.ceil(config.data.train_batch_size / actor.ppo_mini_batch_size)
    return int(mini_batches * actor.ppo_epochs)


def make_plan(
    config: DictConfig,
    controller: Controller,
    start: Start,
    data: Data | Games | None = None,
    prompts: FirstPrompts | None = None,
    taken: FromMachine | None = None,
) -> Plan:
    """Derive the plan of a checked configuration.

    Args:
        config: with valid sections.
        controller: of p.
        start: where the run begins.
        data: what was found in the data, or in the games.
        prompts: what was found of the prompts.
        taken: what was taken from the machine, of a run on GPUs.

    Returns:
        The plan.
    """
    actor = config.actor_rollout_ref.actor
    steps = config.trainer.total_training_steps
    updates = updates_per_step(config)
    is_holder = actor.policy_loss.loss_mode == HOLDER
    memory = plan_memory(config)

    lines = (
        f"model      {config.actor_rollout_ref.model.path}",
        f"data       {_listed(config.data.train_files)} (held out: "
        f"{_listed(config.data.val_files)})",
        f"loss       {actor.policy_loss.loss_mode}, {_describe_clip(actor)}",
        *_own_functions(config, is_holder),
        f"optimiser  {_describe_rate(actor.optim, steps)}",
        *_describe_round(config, data),
        *describe_trainer(config),
        f"p          {_describe_p(controller, steps)}"
        + ("" if is_holder else " (not used by this loss)"),
        f"devices    {config.trainer.nnodes} x {config.trainer.n_gpus_per_node} {config.device}",
        *(taken.lines(config) if taken else ()),
        *memory.lines,
        f"seed       {config.seed}",
        f"output     {config.run_dir}",
        *start.lines,
    )
    warnings: list[str] = []
    if has_agent(config):
        warnings += turn_budget(config).warnings() if is_holder else ()
        warnings += agent_warnings(config)
    elif is_holder and updates == 1:
        warnings.append(
            "p has no effect: with one update per rollout batch every ratio is 1 "
            "(lower actor_rollout_ref.actor.ppo_mini_batch_size)"
        )
    if is_holder:
        for name, schedule in controller.schedules.items():
            warnings += _about_schedule(name, schedule, steps)
        warnings += controller.warnings(steps, updates)
    warnings += [*loss_warnings(config), *rollout_warnings(config), *_about_length(config)]
    warnings += taken.warnings(config) if taken else ()
    warnings += [*unread_settings(config, changed_settings(config)), *unread_warnings(config)]
    for looked_at in (data, prompts):
        warnings += looked_at.warnings if looked_at is not None else []
    if config.device != "cpu" and "cpu" in config:
        warnings.append(f"cpu has no effect: it belongs to device=cpu, this is {config.device}")
    if config.advantage.transforms and config.algorithm.adv_estimator != HOLDER:
        warnings.append(
            "advantage.transforms has no effect: it belongs to algorithm.adv_estimator=holder"
        )
    warnings += [*asynchronous_warnings(config), *memory.warnings]
    warnings += [*turn_warnings(config), *start.warnings, *resume_warnings(config)]
    told = tuple(prompts.prompts) if prompts is not None else ()
    return Plan(lines, tuple(warnings), controller, start, told)


def _describe_round(config: DictConfig, data: Data | Games | None) -> Iterator[str]:
    """Sizes of a round: what is played or answered, and how it is shared out over updates."""
    rollout, longest = config.actor_rollout_ref.rollout, config.data.max_response_length
    groups = f"groups     {_describe_groups(rollout.n)}"
    if has_agent(config):
        budget = turn_budget(config)
        if isinstance(data, Games):
            yield from games_lines(config, data)
        yield (
            f"rollouts   {config.data.train_batch_size} games x {rollout.n} episodes, at most "
            f"{budget.max_steps} turns of {longest} tokens each"
        )
        yield groups
        yield from budget.lines()
        yield f"credit     {describe_credit(config)}"
        return
    yield (
        f"rollouts   {config.data.train_batch_size} prompts x {rollout.n} responses, at most "
        f"{longest} tokens each"
    )
    yield groups
    yield (
        f"updates    {updates_per_step(config)} per rollout batch, "
        f"{config.actor_rollout_ref.actor.ppo_mini_batch_size * rollout.n} responses each"
    )


def _about_schedule(name: str, schedule: Schedule, steps: int) -> Iterator[str]:
    """What a schedule says and the run cannot do."""
    last_round, end = steps - 1, schedule.last_step
    if end > last_round and schedule.at(last_round) != schedule.at(end):
        yield (
            f"the schedule of {name} does not finish: its end comes in round {end + 1}, the run "
            f"has {steps}"
            + (f" (set {name}.steps=whole_run)" if hasattr(schedule, "steps") else "")
        )
    if getattr(schedule, "after", None) is not None and end >= last_round:
        yield f"{name}.after has no effect: the run has no round after the end of the schedule"


def _about_length(config: DictConfig) -> Iterator[str]:
    """What a run of this length does not come to."""
    trainer, optim = config.trainer, config.actor_rollout_ref.actor.optim
    steps = trainer.total_training_steps
    if optim.lr == 0:
        yield "actor_rollout_ref.actor.optim.lr is 0: nothing is learned"
    if (full := first_full_round(optim, steps)) > steps:
        yield (
            f"the learning rate does not reach {optim.lr:g}: with a warm-up of "
            f"{warm_up_rounds(optim, steps)} rounds it is reached in round {full}, the run has "
            f"{steps}"
        )
    if "trainer.total_epochs" in changed_settings(config):
        yield (
            f"trainer.total_epochs is {trainer.total_epochs}: the run ends there, without a last "
            "checkpoint, if trainer.total_training_steps has not come before (leave it out)"
        )
    if trainer.test_freq <= 0 and trainer.val_before_train:
        yield (
            f"trainer.test_freq is {trainer.test_freq}: held-out problems are answered before the "
            "first round and not again"
        )


def _describe_groups(num_responses: int) -> str:
    successes = (0.1, 0.5, 0.9)
    shares = ", ".join(f"{100 * signal_share(num_responses, q):.0f}" for q in successes)
    return f"{shares} % carry a signal where 10, 50, 90 % of the responses succeed"


def _listed(files: str | ListConfig) -> str:
    return files if isinstance(files, str) else ", ".join(map(str, files))


def _own_functions(config: DictConfig, is_holder: bool) -> Iterator[str]:
    """The user's functions, and the transforms of the advantage."""
    aggregate = config.actor_rollout_ref.actor.policy_loss.get("aggregate", POWER_MEAN)
    if is_holder and aggregate != POWER_MEAN:
        yield f"aggregate  {aggregate}"
    transforms = advantage_settings(config).transforms
    if transforms and config.algorithm.adv_estimator == HOLDER:
        yield f"advantage  {', then '.join(_describe_transform(dict(one)) for one in transforms)}"


def _describe_transform(transform: dict[str, Any]) -> str:
    name = transform.pop("name")
    arguments = ", ".join(f"{key} {value}" for key, value in transform.items())
    return f"{name} ({arguments})" if arguments else str(name)


def _describe_rate(optim: DictConfig, num_rounds: int) -> str:
    parts = [f"{optim.optimizer}, learning rate {optim.lr:g}"]
    full = first_full_round(optim, num_rounds)
    if warm_up := warm_up_rounds(optim, num_rounds):
        parts.append(f"warm-up of {warm_up} rounds")
    if full > num_rounds:
        return ", ".join(parts)
    if warm_up:
        parts.append(f"in full from round {full} on")
    if optim.lr_scheduler_type == "cosine":
        end = optim.lr * rate_share(optim, num_rounds, num_rounds)
        parts.append(f"cosine to {end:.3g} in round {num_rounds}")
    return ", ".join(parts)


def _describe_p(controller: Controller, num_rounds: int) -> str:
    """First and last value of each schedule behind p, and the rules on top of them."""
    parts = []
    for name, rule in controller.rules.items():
        side = "" if name == "p" else f" for {name.removeprefix('p.')} advantages"
        parts.append(f"by {rule}{side}")
    for name, schedule in controller.schedules.items():
        first, last = schedule.at(0), schedule.at(num_rounds - 1)
        ends = ""
        if 0 < schedule.last_step <= num_rounds - 1:
            ends = f", at its end from round {schedule.last_step + 1} on"
        label = "" if name == "p" else name.removeprefix("p.") + " "
        parts.append(f"{label}{first:+g} to {last:+g} over {num_rounds} rollout rounds{ends}")
    return "; ".join(parts)


def _describe_clip(actor: DictConfig) -> str:
    log_ratio = actor.policy_loss.get("clip_log_ratio")
    if actor.policy_loss.loss_mode == HOLDER and log_ratio is not None:
        return f"{actor.policy_loss.clip_level} clip at exp(-{log_ratio}) and exp({log_ratio})"
    level = f"{actor.policy_loss.clip_level} " if actor.policy_loss.loss_mode == HOLDER else ""
    return f"{level}clip {actor.clip_ratio_low} low {actor.clip_ratio_high} high"
