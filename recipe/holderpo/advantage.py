"""The advantage hook on the driver: verl's estimator signature around ``holderpo.advantage``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holderpo.advantage import (
    AdvantageSettings,
    ResponseBatch,
    compute_advantages,
    without_signal,
)
from holderpo.metrics import GROUP_NO_SIGNAL_FRAC
from holderpo.turn_advantage import compute_turn_advantages
from recipe.holderpo.turn_rows import TurnRows


@dataclass
class AdvantageCall:
    """One call of the estimator: our settings on the way in, metrics on the way out."""

    settings: AdvantageSettings
    """Normalisation and transforms."""
    max_response_tokens: int
    """Length at which a response is cut off."""
    truncated: np.ndarray | None = None
    """(rows,) bool, where the reward manager says which were."""
    turns: TurnRows | None = None
    """Which turn of which episode each row is; none where a row is a response."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Filled by the estimator."""
    reward_mean: float | None = None
    """Mean reward of the responses, or mean return of the episodes; filled by the estimator."""


_current_call: ContextVar[AdvantageCall | None] = ContextVar("holder_advantage", default=None)


@contextmanager
def advantage_call(call: AdvantageCall) -> Iterator[AdvantageCall]:
    """Make ``call`` the one that :func:`compute_holder_advantage` reads and fills."""
    token = _current_call.set(call)
    try:
        yield call
    finally:
        _current_call.reset(token)


def compute_holder_advantage(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray,
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Group-relative advantages, as verl's estimator ``holder``.

    **Source**: :func:`holderpo.advantage.compute_advantages` of responses,
    :func:`holderpo.turn_advantage.compute_turn_advantages` of the turns of episodes.

    Args:
        token_level_rewards: (rows, response_len) rewards; their sum is the response's reward. Of
            turns the call itself brings the rewards.
        response_mask: (rows, response_len) 0/1. Responses without tokens are padding: they get 0
            and belong to no group. Of turns the call says which are padding.
        index: (rows,) prompt identifiers.
        config: verl's algorithm settings (``norm_adv_by_std_in_grpo``), used where no driver of
            ours passes settings; that driver sets them to null.

    Returns:
        Advantages and returns, both (rows, response_len), 0 outside the mask.

    Raises:
        ValueError: if there are no settings at all.
    """
    call = _current_call.get()
    if call is None:
        by_std = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
        if by_std is None:
            raise ValueError(
                "algorithm.norm_adv_by_std_in_grpo: null, and the estimator 'holder' was called "
                "without the section advantage; this project's trainer passes it on in "
                "_compute_advantage only, verl's own main_ppo needs true or false"
            )
        call = AdvantageCall(
            AdvantageSettings(normalize_by_std=by_std), max_response_tokens=response_mask.shape[-1]
        )
    mask = response_mask.bool()
    if call.turns is not None:
        of_rows = _advantages_of_turns(call, call.turns, mask)
    else:
        of_rows = _advantages_of_responses(call, token_level_rewards.sum(-1), mask, index)
    per_token = of_rows.to(token_level_rewards.dtype).unsqueeze(-1) * mask
    return per_token, per_token


def _advantages_of_responses(
    call: AdvantageCall, rewards: Tensor, mask: Tensor, index: np.ndarray
) -> Tensor:
    """(rows,) advantages where each row is a response."""
    is_row = mask.any(-1)
    group_numbers = np.unique(np.asarray(index).astype(str), return_inverse=True)[1]
    batch = ResponseBatch(
        rewards=rewards[is_row],
        groups=torch.from_numpy(group_numbers)[is_row],
        lengths_tokens=mask.sum(-1)[is_row],
        max_response_tokens=call.max_response_tokens,
        truncated=None if call.truncated is None else torch.from_numpy(call.truncated)[is_row],
    )
    advantages = torch.zeros(len(is_row), dtype=rewards.dtype)
    advantages[is_row] = compute_advantages(batch, call.settings)
    silent_groups = torch.unique(batch.groups[without_signal(batch.rewards, batch.groups)])
    num_groups = max(len(torch.unique(batch.groups)), 1)
    call.reward_mean = batch.rewards.mean().item() if len(batch.rewards) else None
    call.metrics[GROUP_NO_SIGNAL_FRAC] = len(silent_groups) / num_groups
    return advantages


def _advantages_of_turns(call: AdvantageCall, turns: TurnRows, mask: Tensor) -> Tensor:
    """(rows,) advantages where each row is a turn of an episode."""
    batch = turns.turn_batch(mask.sum(-1), call.max_response_tokens)
    advantages = torch.zeros(len(mask), dtype=torch.double)
    advantages[turns.rows], metrics = compute_turn_advantages(batch, call.settings)
    call.reward_mean = turns.mean_return
    call.metrics.update(metrics)
    return advantages
