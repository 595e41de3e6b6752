"""Whether the settings of the policy loss make sense, and which of them nothing reads."""

from __future__ import annotations

import math
from collections.abc import Iterator

from omegaconf import DictConfig

from holderpo.objective import TOKEN_THEN_SEQUENCE, log_space_clip
from recipe.holderpo.checks.defaults import base_values
from recipe.holderpo.checks.kinds import is_number
from recipe.holderpo.sections import HOLDER

_ACTOR = "actor_rollout_ref.actor"
# Default of policy_loss.p, which only verl's own main_ppo reads.
_LOSS_P = 1.0


def loss_problems(config: DictConfig) -> Iterator[str]:
    """Settings under which the Hölder loss would not be the method.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    actor = config.actor_rollout_ref.actor
    if actor.policy_loss.loss_mode != HOLDER:
        return
    for name in ("clip_ratio_low", "clip_ratio_high"):
        value = actor[name]
        upper = 1 if name == "clip_ratio_low" else float("inf")
        if not is_number(value) or not 0 < value < upper:
            yield f"{_ACTOR}.{name}: {value!r}; give a distance from 1 in (0, {upper:g})"
    if actor.loss_agg_mode != "seq-mean-token-mean":
        yield (
            f"{_ACTOR}.loss_agg_mode: {actor.loss_agg_mode!r}; "
            "the Hölder loss needs 'seq-mean-token-mean'"
        )
    yield from _dual_clip(actor)


def loss_warnings(config: DictConfig) -> Iterator[str]:
    """Settings of the loss that nothing will read.

    Args:
        config: a checked configuration.

    Yields:
        One line each.
    """
    actor = config.actor_rollout_ref.actor
    loss = actor.policy_loss
    is_holder = loss.loss_mode == HOLDER
    field = f"{_ACTOR}.policy_loss"
    if is_holder and loss.get("p") not in (None, _LOSS_P):
        yield f"{field}.p has no effect: the driver hands out the order (set p=constant p.value)"
    for name in () if is_holder else ("dual_clip", "clip_log_ratio"):
        if loss.get(name) is not None:
            yield f"{field}.{name} has no effect: it belongs to loss_mode={HOLDER}"
    if is_holder and loss.dual_clip is not None and loss.clip_level == TOKEN_THEN_SEQUENCE:
        yield (
            f"{field}.dual_clip has no effect: with {TOKEN_THEN_SEQUENCE} no ratio gets that large"
        )
    low, high = actor.clip_ratio_low, actor.clip_ratio_high
    default = base_values(config.device, resolve=True)[f"{_ACTOR}.clip_ratio"]
    if None not in (low, high) and actor.clip_ratio not in (default, low, high):
        yield (
            f"{_ACTOR}.clip_ratio has no effect: clip_ratio_low and clip_ratio_high are read, "
            f"{low} and {high} (set those)"
        )


def _dual_clip(actor: DictConfig) -> Iterator[str]:
    """It must lie above the upper end of the clip range, wherever that comes from."""
    loss = actor.policy_loss
    field = f"{_ACTOR}.policy_loss.dual_clip"
    dual_clip, log_ratio = loss.get("dual_clip"), loss.get("clip_log_ratio")
    if dual_clip is None:
        return
    if not is_number(dual_clip):
        yield f"{field}: {dual_clip!r}; give a number or null"
        return
    upper = 1 + actor.clip_ratio_high if is_number(actor.clip_ratio_high) else math.inf
    if log_ratio is not None:
        try:
            upper = 1 + log_space_clip(log_ratio).clip_high
        except (ValueError, TypeError):
            return  # Reported where the section itself is checked.
    if not dual_clip > upper:
        yield f"{field}: {dual_clip}; give a ratio above the clip range's end {upper:g}, or null"
