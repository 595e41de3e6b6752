"""The learning rate of each round, as verl sets it."""

from __future__ import annotations

import math

from omegaconf import DictConfig


def warm_up_rounds(optim: DictConfig, num_rounds: int) -> int:
    """Rounds below the full rate: a number above 0, else a share of the run.

    Args:
        optim: the section ``actor_rollout_ref.actor.optim``.
        num_rounds: of the run.

    Returns:
        A number, 0 for none.
    """
    if optim.lr_warmup_steps > 0:
        return int(optim.lr_warmup_steps)
    return int(optim.lr_warmup_steps_ratio * num_rounds)


def first_full_round(optim: DictConfig, num_rounds: int) -> int:
    """The first round at the full rate, perhaps after the run's end; rounds count from 1.

    Args:
        optim: the section ``actor_rollout_ref.actor.optim``.
        num_rounds: of the run.

    Returns:
        A round; the first of a warm-up is at 0, unless steps count from one.
    """
    return max(warm_up_rounds(optim, num_rounds) + 1 - _first_step(optim), 1)


def rate_share(optim: DictConfig, num_rounds: int, of_round: int) -> float:
    """What part of the full rate the updates of a round have.

    **Source**: ``get_constant_schedule_with_warmup`` and ``get_cosine_schedule_with_warmup`` of
    verl 0.9.1 (``verl.utils.torch_functional``), which step once a round.

    Args:
        optim: the section ``actor_rollout_ref.actor.optim``.
        num_rounds: of the run.
        of_round: 1 for the first.

    Returns:
        A share in [0, 1].
    """
    warm_up, step = warm_up_rounds(optim, num_rounds), of_round - 1 + _first_step(optim)
    if step < warm_up:
        return step / warm_up
    if optim.lr_scheduler_type != "cosine":
        return 1.0
    progress = (step - warm_up) / max(1, num_rounds - warm_up)
    lowest = optim.min_lr_ratio or 0.0
    share = (1 + math.cos(2 * math.pi * optim.num_cycles * progress)) / 2
    return max(lowest, lowest + (1 - lowest) * share)


def _first_step(optim: DictConfig) -> int:
    """What verl counts the first round as."""
    return int(optim.lr_scheduler_type == "cosine" and not optim.zero_indexed_step)
