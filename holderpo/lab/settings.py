"""What a run of the laboratory is: a task, a regime, an arm and two seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from holderpo.control import build_controller
from holderpo.number_kinds import is_number, is_whole
from holderpo.objective import CLIP_LEVELS, SEQUENCE

CONSTANT_RATE, LINEAR_RATE = "constant", "linear"


@dataclass(frozen=True, kw_only=True)
class Regime:
    """How much is sampled and how hard it is learnt from; the same for all arms."""

    name: str
    """In tables."""
    learning_rate: float
    """Of AdamW (betas 0.9 and 0.99, no weight decay), once warmed up."""
    num_prompts: int = 16
    """Problems of a round."""
    group_size: int = 8
    """Responses to each."""
    num_updates: int = 8
    """Optimiser steps of a round, each on its share of the problems."""
    num_rounds: int = 40
    """Of a run."""
    warm_up_rounds: int = 5
    """Rounds in which the learning rate rises from 0, which it is in the first."""
    rate_schedule: str = CONSTANT_RATE
    """``constant``, or ``linear`` to 0 at the end of the run."""
    max_grad_norm: float = 1.0
    """Longer gradients are cut down to it."""

    def __post_init__(self) -> None:
        """Numbers must be possible ones."""
        for name in ("num_prompts", "group_size", "num_updates", "num_rounds"):
            if not is_whole(value := getattr(self, name), at_least=1):
                raise ValueError(f"regime.{name}: {value!r}; give a whole number above 0")
        if self.num_prompts % self.num_updates:
            raise ValueError(
                f"regime.num_updates: {self.num_updates}; give a number that divides num_prompts "
                f"({self.num_prompts})"
            )
        if self.group_size < 2:
            raise ValueError("regime.group_size: 1; a group-relative advantage needs 2 or more")
        if not is_whole(self.warm_up_rounds, at_least=0):
            raise ValueError(
                f"regime.warm_up_rounds: {self.warm_up_rounds!r}; give a whole number from 0 on"
            )
        for name in ("learning_rate", "max_grad_norm"):
            if not is_number(value := getattr(self, name)) or not value > 0:
                raise ValueError(f"regime.{name}: {value!r}; give a number above 0")
        if self.rate_schedule not in (CONSTANT_RATE, LINEAR_RATE):
            raise ValueError(
                f"regime.rate_schedule: {self.rate_schedule!r}; give {CONSTANT_RATE} or "
                f"{LINEAR_RATE}"
            )

    def rate_at(self, round_number: int) -> float:
        """Learning rate of a round, the first being 0."""
        if round_number < self.warm_up_rounds:
            return self.learning_rate * round_number / self.warm_up_rounds
        if self.rate_schedule == CONSTANT_RATE:
            return self.learning_rate
        left = self.num_rounds - round_number
        return self.learning_rate * left / (self.num_rounds - self.warm_up_rounds)


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """What is compared: the order, and what is clipped."""

    name: str
    """In tables; one name, one arm."""
    p: Mapping[str, Any] = field(default_factory=dict)
    """Of the controller, ``{_target_: ..., <its fields>}`` as in ``configs/p``."""
    clip_low: float = 0.2
    """Distance of the lower bound from 1."""
    clip_high: float = 0.2
    """Distance of the upper bound from 1."""
    clip_level: str = SEQUENCE
    """One of ``sequence``, ``token``, ``token_then_sequence``."""
    loss: str | None = None
    """Dotted name of a function in place of the clipped Hölder surrogate: from log-probabilities,
    old ones, advantages (B,) and mask to a loss (B,). None for the surrogate."""
    shuffled_reward: bool = False
    """Whether the advantages of a round are handed to other responses: nothing can be learnt."""

    def __post_init__(self) -> None:
        """The order must be one, and the clip a clip."""
        build_controller(self.p, num_rounds=100, field=f"{self.name}.p")
        if not 0 < self.clip_low < 1:
            raise ValueError(f"{self.name}.clip_low: {self.clip_low!r}; give a number in (0, 1)")
        if not self.clip_high > 0:
            raise ValueError(f"{self.name}.clip_high: {self.clip_high!r}; give a number above 0")
        if self.clip_level not in CLIP_LEVELS:
            raise ValueError(
                f"{self.name}.clip_level: {self.clip_level!r}; give one of {', '.join(CLIP_LEVELS)}"
            )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run."""

    task: Mapping[str, Any]
    """``{_target_: dotted name of a class, <its arguments>}``."""
    regime: Regime
    """How it learns."""
    arm: ArmSettings
    """What it is an example of."""
    seed: int
    """Of problems, sampling and the order of updates; the same for all arms."""
    model_seed: int = 0
    """Of the model that it starts from."""

    @property
    def digest(self) -> str:
        """By which a run is known again: 16 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def from_mapping(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """A settings class from plain values.

    Args:
        kind: one of the classes above.
        values: of its fields.
        where: they stand, for the error.

    Raises:
        ValueError: naming an unknown or missing field, or a wrong value.
    """
    known = {one.name for one in fields(kind)}
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{where}.{unknown[0]}: unknown; give one of {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
