"""Group-relative advantages and the named transforms applied after them.

Shapes: ``B`` responses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holderpo.dotted import load_callable
from holderpo.number_kinds import is_number

EPISODE, TURN = "episode", "turn"
UNITS = (EPISODE, TURN)


@dataclass(frozen=True)
class ResponseBatch:
    """What a transform may know about the responses; all (B,)."""

    rewards: Tensor
    """What the group's statistics are made of: the return of each response. In episodes of several
    turns, of which each is a row, the return of the row's episode, or with the unit ``turn`` the
    reward of the row."""
    groups: Tensor
    """int64; responses to the same prompt share a number."""
    lengths_tokens: Tensor
    """int64; number of response tokens."""
    max_response_tokens: int
    """Length at which a response is cut off."""
    truncated: Tensor | None = None
    """bool; which responses were cut off, where the reward manager says so."""
    episodes: Tensor | None = None
    """int64; rows with one number belong to one episode, which counts once in its group. None:
    every row counts by itself."""


Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class AdvantageSettings:
    """How advantages are computed from rewards."""

    normalize_by_std: bool = True
    """Divide by the group's standard deviation (GRPO); false is Dr.GRPO."""
    transforms: Sequence[Mapping[str, Any]] = ()
    """Applied in order, each `{name: ..., <its arguments>}`; a name below or a dotted name."""
    unit: str = EPISODE
    """What a group's mean and standard deviation are taken over: each ``episode`` once, by its
    return, or every ``turn`` as a row of its own. Without turns the two are the same."""
    row_weight: str = TURN
    """What counts the same in the update: every ``turn``, or every ``episode`` however long."""
    step_weight: float = 0.0
    """Weight of the credit by step beside that of the episode: 0 is none, 1 is GiGPO."""
    step_discount: float = 0.95
    """Discount per turn of the return that the credit by step compares."""

    def __post_init__(self) -> None:
        """Choices and numbers must be allowed ones, and each transform have a loadable name.

        Raises:
            ValueError: naming each wrong field with its fix, one line each.
        """
        problems = list(self._problems())
        if problems:
            raise ValueError("\n".join(problems))
        if isinstance(self.transforms, str) or not isinstance(self.transforms, Sequence):
            raise ValueError(
                f"advantage.transforms: {self.transforms!r}; give a list of {{name: ...}}"
            )
        for transform in self.transforms:
            if not isinstance(transform, Mapping) or "name" not in transform:
                raise ValueError(
                    f"advantage.transforms: {transform!r} has no 'name'; "
                    f"give one of {sorted(TRANSFORMS)} or a dotted name"
                )
            load_callable(transform["name"], field="advantage.transforms", known=TRANSFORMS)

    def _problems(self) -> Iterator[str]:
        if not isinstance(self.normalize_by_std, bool):
            yield f"advantage.normalize_by_std: {self.normalize_by_std!r}; give true or false"
        for name in ("unit", "row_weight"):
            if getattr(self, name) not in UNITS:
                yield f"advantage.{name}: {getattr(self, name)!r}; give {' or '.join(UNITS)}"
        for name, upper in (("step_weight", math.inf), ("step_discount", 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= upper:
                allowed = "0 or more" if upper == math.inf else f"from 0 to {upper:g}"
                yield f"advantage.{name}: {value!r}; give a number, {allowed}"


def group_relative_advantage(
    rewards: Tensor, groups: Tensor, *, normalize_by_std: bool = True, epsilon: float = 1e-6
) -> Tensor:
    """Reward minus the group's mean, optionally over the group's standard deviation.

    Groups whose rewards are all equal get exactly 0 (rounding in the mean would otherwise be
    blown up by the division), and so do groups of one response, which have no baseline.

    **Source**: the paper's section 3 (advantage of GRPO); without the division, Dr.GRPO.

    Args:
        rewards: (B,) return of each response.
        groups: (B,) integers; responses to the same prompt share one.
        normalize_by_std: divide by the group's sample standard deviation plus ``epsilon``.
        epsilon: added to the standard deviation, in reward units.

    Returns:
        (B,) in the dtype of ``rewards``.

    Raises:
        ValueError: if the shapes differ or a reward is not finite.
    """
    if rewards.ndim != 1 or groups.shape != rewards.shape:
        raise ValueError(
            f"rewards {tuple(rewards.shape)}, groups {tuple(groups.shape)}: both must be (B,)"
        )
    if not torch.isfinite(rewards).all():
        raise ValueError("rewards: NaN or inf; the reward function must return finite numbers")
    rewards_double = rewards.double()
    _, group_B = torch.unique(groups, return_inverse=True)
    num_groups = int(group_B.max()) + 1 if len(group_B) else 0

    count_G = torch.zeros(num_groups, dtype=torch.double).index_add(
        0, group_B, torch.ones_like(rewards_double)
    )
    mean_G = (
        torch.zeros(num_groups, dtype=torch.double).index_add(0, group_B, rewards_double) / count_G
    )
    centred_B = rewards_double - mean_G[group_B]
    if normalize_by_std:
        square_G = torch.zeros(num_groups, dtype=torch.double).index_add(
            0, group_B, centred_B.square()
        )
        std_G = (square_G / (count_G - 1).clamp(min=1)).sqrt()
        centred_B = centred_B / (std_G[group_B] + epsilon)
    return torch.where(without_signal(rewards, groups), 0, centred_B).to(rewards.dtype)


def without_signal(rewards: Tensor, groups: Tensor) -> Tensor:
    """Whether a response's group has equal rewards throughout, so that it teaches nothing.

    Args:
        rewards: (B,) return of each response.
        groups: (B,) integers; responses to the same prompt share one.

    Returns:
        (B,) bool.
    """
    _, group_B = torch.unique(groups, return_inverse=True)
    num_groups = int(group_B.max()) + 1 if len(group_B) else 0
    largest_G = rewards.new_full((num_groups,), -torch.inf).scatter_reduce(
        0, group_B, rewards, "amax"
    )
    smallest_G = rewards.new_full((num_groups,), torch.inf).scatter_reduce(
        0, group_B, rewards, "amin"
    )
    return (largest_G == smallest_G)[group_B]


def compute_advantages(batch: ResponseBatch, settings: AdvantageSettings) -> Tensor:
    """Group-relative advantages followed by the configured transforms.

    Args:
        batch: rewards, groups and lengths of the responses.
        settings: normalisation and transforms.

    Returns:
        (B,) advantages.

    Raises:
        ValueError: if a transform is unknown or returns something other than (B,) finite numbers.
    """
    advantages = group_relative_advantage(
        batch.rewards, batch.groups, normalize_by_std=settings.normalize_by_std
    )
    return apply_transforms(advantages, batch, settings)


def apply_transforms(
    advantages: Tensor, batch: ResponseBatch, settings: AdvantageSettings
) -> Tensor:
    """The configured transforms, one after the other.

    Args:
        advantages: (B,).
        batch: what the transforms may know.
        settings: of which the transforms are read.

    Returns:
        (B,) advantages.

    Raises:
        ValueError: if a transform is unknown or returns something other than (B,) finite numbers.
    """
    for entry in settings.transforms:
        arguments = {key: value for key, value in entry.items() if key != "name"}
        transform = load_callable(entry["name"], field="advantage.transforms", known=TRANSFORMS)
        advantages = transform(advantages, batch, **arguments)
        if advantages.shape != batch.rewards.shape or not torch.isfinite(advantages).all():
            raise ValueError(
                f"advantage.transforms: {entry['name']!r} must return "
                f"{tuple(batch.rewards.shape)} finite numbers"
            )
    return advantages


def clamp(advantages: Tensor, batch: ResponseBatch, *, limit: float) -> Tensor:
    """Bound the magnitude of each advantage by ``limit`` (in advantage units, > 0)."""
    if not limit > 0:
        raise ValueError(f"advantage.transforms: clamp limit {limit}; give a number above 0")
    return advantages.clamp(-limit, limit)


def drop_truncated(advantages: Tensor, batch: ResponseBatch) -> Tensor:
    """Take truncated responses out of the update (advantage 0).

    Where no reward manager says which are truncated, those that fill the whole response length
    count; then leave room for the end token.
    """
    truncated_B = batch.truncated
    if truncated_B is None:
        truncated_B = batch.lengths_tokens >= batch.max_response_tokens
    return torch.where(truncated_B, 0, advantages)


def weight_by_difficulty(advantages: Tensor, batch: ResponseBatch, *, power: float = 1.0) -> Tensor:
    """Weigh each row by ``(1 - mean reward of its group) ** power``, for rewards in [0, 1].

    An episode of several rows counts once in that mean.
    """
    if batch.rewards.min() < 0 or batch.rewards.max() > 1:
        raise ValueError("advantage.transforms: weight_by_difficulty needs rewards in [0, 1]")
    _, group_B = torch.unique(batch.groups, return_inverse=True)
    weight_B = torch.ones(len(group_B))
    if batch.episodes is not None:
        _, episode_B = torch.unique(batch.episodes, return_inverse=True)
        weight_B = 1 / torch.bincount(episode_B)[episode_B]
    zeros_G = torch.zeros(int(group_B.max()) + 1)
    total_G = zeros_G.index_add(0, group_B, batch.rewards.float() * weight_B)
    mean_G = total_G / zeros_G.index_add(0, group_B, weight_B)
    return advantages * ((1 - mean_G) ** power)[group_B].to(advantages.dtype)


TRANSFORMS: Mapping[str, Transform] = {
    "clamp": clamp,
    "drop_truncated": drop_truncated,
    "weight_by_difficulty": weight_by_difficulty,
}
