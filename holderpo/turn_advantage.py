"""Advantages of episodes of several turns, each turn a row: of the episode and by step.

Shapes: ``B`` rows (turns), ``E`` episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holderpo.advantage import (
    EPISODE,
    AdvantageSettings,
    ResponseBatch,
    apply_transforms,
    group_relative_advantage,
    without_signal,
)
from holderpo.metrics import (
    ANCHOR_GROUP_SIZE_MEAN,
    ANCHORED_TURN_FRAC,
    EPISODE_ADVANTAGE_STD,
    GROUP_NO_SIGNAL_FRAC,
    STEP_ADVANTAGE_STD,
)

# Digits behind the point to which returns are compared, so that the same rewards summed in another
# order are equal.
_DECIMALS = 9


@dataclass(frozen=True)
class TurnBatch:
    """The turns of a round, in any order; all (B,)."""

    groups: Tensor
    """int64; episodes of the same task share a number."""
    episodes: Tensor
    """int64; a number of its own for each episode of the batch."""
    turns: Tensor
    """int64; position in the episode, from 0 and without gaps."""
    episode_returns: Tensor
    """float; sum of the episode's rewards minus that of its penalties, the same on its rows."""
    rewards: Tensor
    """float; what the environment itself gave for the turn."""
    penalties: Tensor
    """float, 0 or more; what the turn's action costs."""
    anchors: Sequence[str]
    """The environment's own observation that the turn answers."""
    lengths_tokens: Tensor
    """int64; response tokens of the turn. A row without any, such as the one that stands for a
    failed episode, counts in the statistics of its group, and in no anchor group."""
    max_response_tokens: int
    """Length at which a turn's response is cut off."""
    truncated: Tensor | None = None
    """bool; which turns' responses were cut off, where that is known."""

    def __post_init__(self) -> None:
        """Rows must be complete, and those of an episode agree.

        Raises:
            ValueError: naming the field.
        """
        shape = self.groups.shape
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and (value.shape != shape or value.ndim != 1):
                raise ValueError(f"{name}: {tuple(value.shape)}; all must be {tuple(shape)}")
        if len(self.anchors) != len(self.groups):
            raise ValueError(f"anchors: {len(self.anchors)}; give {len(self.groups)}")
        for name in ("episode_returns", "rewards", "penalties"):
            if not torch.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name}: NaN or inf; the environment must give finite numbers")
        if (self.penalties < 0).any():
            raise ValueError("penalties: below 0; they are taken away, give 0 or more")
        first_E, episode_B = first_rows(self.episodes)
        for name in ("groups", "episode_returns"):
            value = getattr(self, name)
            if not torch.equal(value[first_E][episode_B], value):
                raise ValueError(f"{name}: the rows of an episode differ; give them one value")

    @property
    def has_tokens(self) -> Tensor:
        """(B,) bool; whether the row has response tokens."""
        return self.lengths_tokens > 0


def first_rows(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The first row of each number, and which number each row has.

    Args:
        numbers: (B,) int64, such as those of episodes.

    Returns:
        (E,) rows in the order of the numbers, and (B,) positions in the former.
    """
    unique_E, number_B = torch.unique(numbers, return_inverse=True)
    rows_B = torch.arange(len(numbers))
    first_E = torch.full((len(unique_E),), len(numbers)).scatter_reduce(0, number_B, rows_B, "amin")
    return first_E, number_B


def compute_turn_advantages(
    batch: TurnBatch, settings: AdvantageSettings
) -> tuple[Tensor, dict[str, float]]:
    """Advantage of each turn: that of its episode, plus the weighted credit by step.

    The transforms get the turns as rows, their rewards being what the statistics of the unit are
    made of. Row weights come last: the clipped surrogate is positively homogeneous in the advantage
    (``f(c A) = c f(A)`` for ``c > 0``, with every clip here and the dual clip), so a factor of the
    advantage is a weight of the row in the objective. It does not weigh the terms of KL divergence
    and entropy.

    **Source**: GiGPO, arXiv 2505.10978: ``A = A_episode + step_weight A_step`` (Eq. 8).

    Args:
        batch: turns of whole groups.
        settings: unit, normalisation, weights, transforms.

    Returns:
        (B,) advantages in float64, 0 on rows without tokens, and the metrics.

    Raises:
        ValueError: for what a transform refuses.
    """
    rewards_B = statistic_rewards(batch, settings.unit)
    is_episode = settings.unit == EPISODE
    responses = ResponseBatch(
        rewards=rewards_B,
        groups=batch.groups,
        lengths_tokens=batch.lengths_tokens,
        max_response_tokens=batch.max_response_tokens,
        truncated=batch.truncated,
        episodes=batch.episodes if is_episode else None,
    )
    by_std = settings.normalize_by_std
    episode_B = episode_advantage(batch, rewards_B, settings.unit, normalize_by_std=by_std)
    anchor_B = anchor_groups(batch)
    step_B = step_advantage(batch, anchor_B, settings.step_discount, normalize_by_std=by_std)
    advantages = apply_transforms(episode_B + settings.step_weight * step_B, responses, settings)
    if settings.row_weight == EPISODE:
        advantages = advantages * episode_row_weights(batch)

    has_tokens = batch.has_tokens
    silent = torch.unique(batch.groups[without_signal(rewards_B, batch.groups)])
    metrics = {GROUP_NO_SIGNAL_FRAC: len(silent) / max(len(torch.unique(batch.groups)), 1)}
    if has_tokens.any():
        sizes = torch.bincount(anchor_B[has_tokens])
        metrics |= {
            ANCHORED_TURN_FRAC: (sizes[anchor_B[has_tokens]] > 1).double().mean().item(),
            ANCHOR_GROUP_SIZE_MEAN: sizes.double().mean().item(),
            EPISODE_ADVANTAGE_STD: episode_B[has_tokens].std(correction=0).item(),
            STEP_ADVANTAGE_STD: step_B[has_tokens].std(correction=0).item(),
        }
    return torch.where(has_tokens, advantages, 0), metrics


def statistic_rewards(batch: TurnBatch, unit: str) -> Tensor:
    """What the mean and standard deviation of a group are made of, on each row.

    Args:
        batch: turns.
        unit: ``episode`` or ``turn``, see :func:`episode_advantage`.

    Returns:
        (B,) float64.
    """
    if unit == EPISODE:
        return batch.episode_returns.double().round(decimals=_DECIMALS)
    first_E, episode_B = first_rows(batch.episodes)
    total_E = torch.zeros(len(first_E), dtype=torch.double).index_add(
        0, episode_B, batch.rewards.double()
    )
    return (total_E[episode_B] - batch.penalties.double()).round(decimals=_DECIMALS)


def episode_advantage(
    batch: TurnBatch, rewards_B: Tensor, unit: str, *, normalize_by_std: bool = True
) -> Tensor:
    """The episode's part of the advantage, relative to its group.

    ``episode`` is GRPO over episodes: the statistics are over the returns, penalties summed into
    them and each episode counted once; every turn gets its episode's advantage. ``turn`` is what
    the released code does: a row's reward is the sum of its episode's rewards, minus the penalty of
    this turn alone, and the statistics are over all rows of the group, so that an episode of 50
    turns counts 50 times. Where that code keeps the reward of a group of one row as it is, here it
    gets 0, as do groups of equal values.

    **Source**: GiGPO, arXiv 2505.10978, Eq. 3, and verl-agent's ``gigpo/core_gigpo.py`` with its
    default ``compute_mean_std_cross_steps=True``.

    Args:
        batch: turns of whole groups.
        rewards_B: (B,) of :func:`statistic_rewards` with the same unit.
        unit: ``episode`` or ``turn``.
        normalize_by_std: divide by the sample standard deviation plus 1e-6.

    Returns:
        (B,) float64.
    """
    if unit != EPISODE:
        return group_relative_advantage(rewards_B, batch.groups, normalize_by_std=normalize_by_std)
    first_E, episode_B = first_rows(batch.episodes)
    return group_relative_advantage(
        rewards_B[first_E], batch.groups[first_E], normalize_by_std=normalize_by_std
    )[episode_B]


def discounted_returns(batch: TurnBatch, discount: float) -> Tensor:
    """What each turn's episode still earned from this turn on: ``sum_k discount^k reward_{t+k}``.

    Args:
        batch: turns of whole episodes.
        discount: per turn, 0 to 1.

    Returns:
        (B,) float64, without penalties.
    """
    returns: list[float] = [0.0] * len(batch.anchors)
    rewards, episodes = batch.rewards.double().tolist(), batch.episodes.tolist()
    later: dict[int, float] = {}
    for row in torch.argsort(batch.turns, descending=True).tolist():
        episode = episodes[row]
        later[episode] = returns[row] = rewards[row] + discount * later.get(episode, 0.0)
    return torch.tensor(returns, dtype=torch.double)


def anchor_groups(batch: TurnBatch) -> Tensor:
    """Which turns answer the same observation of the same task.

    The observation is the environment's own text, not the prompt with its history. Turns of one
    episode that comes back to it belong together as well.

    **Source**: GiGPO, arXiv 2505.10978, Eq. 6.

    Args:
        batch: turns of whole groups.

    Returns:
        (B,) int64; -1 for rows without tokens.
    """
    numbers: dict[tuple[int, str], int] = {}
    rows = zip(batch.groups.tolist(), batch.anchors, batch.has_tokens.tolist(), strict=True)
    return torch.tensor(
        [
            numbers.setdefault((group, anchor), len(numbers)) if has_tokens else -1
            for group, anchor, has_tokens in rows
        ],
        dtype=torch.int64,
    )


def step_advantage(
    batch: TurnBatch, anchor_B: Tensor, discount: float, *, normalize_by_std: bool = True
) -> Tensor:
    """The credit by step: each turn's discounted return, relative to its anchor group.

    The penalty of the turn's own action is taken off after discounting, so that it says nothing of
    earlier turns. Groups of one turn and of equal values give 0.

    **Source**: GiGPO, arXiv 2505.10978, Eq. 7. The paper has a penalty for invalid actions and does
    not say where it enters; the released code takes it off the turn's own discounted return
    (``apply_invalid_action_penalty`` of verl-agent's trainer).

    Args:
        batch: turns of whole groups.
        anchor_B: (B,) of :func:`anchor_groups`.
        discount: per turn, 0 to 1.
        normalize_by_std: divide by the sample standard deviation plus 1e-6.

    Returns:
        (B,) float64, 0 on rows without tokens.
    """
    value_B = discounted_returns(batch, discount) - batch.penalties.double()
    is_member = anchor_B >= 0
    advantage_B = torch.zeros_like(value_B)
    advantage_B[is_member] = group_relative_advantage(
        value_B[is_member].round(decimals=_DECIMALS),
        anchor_B[is_member],
        normalize_by_std=normalize_by_std,
    )
    return advantage_B


def episode_row_weights(batch: TurnBatch) -> Tensor:
    """Weights under which every episode counts the same, however many turns it has.

    Args:
        batch: turns.

    Returns:
        (B,) float64: rows per episode over the turns of the row's episode, rows without tokens left
        out. The mean over rows with tokens is 1, so the step size stays what it is.
    """
    has_tokens = batch.has_tokens
    first_E, episode_B = first_rows(batch.episodes)
    turns_E = torch.bincount(episode_B[has_tokens], minlength=len(first_E))
    rows_per_episode = turns_E.sum() / (turns_E > 0).sum().clamp(min=1)
    return rows_per_episode.double() / turns_E.clamp(min=1)[episode_B].double()
