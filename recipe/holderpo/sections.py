"""This project's own sections of the Hydra configuration, as typed settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from holderpo.advantage import AdvantageSettings
from holderpo.rewards.truncation import TruncationSettings

# Name of the policy loss and of the advantage estimator in verl's registries.
HOLDER = "holder"
# Name of the aggregation of token ratios by the power mean.
POWER_MEAN = "power_mean"
# Name of the reward manager that knows truncated responses.
TRUNCATION_MANAGER = "TruncationRewardManager"
# Its rules in configs/base.yaml and configs/math.yaml.
_DEFAULTS = ("grade", "zero")


def plain(section: DictConfig | ListConfig) -> Any:
    """A section as plain dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(section, resolve=True)


def take_stand_ins_away(config: DictConfig) -> None:
    """Set to null what stands in where this project's trainer does not run.

    The loss and the advantage estimator ``holder`` read a constant of verl's own sections where
    nobody hands them an order or the section ``advantage``, and refuse null.

    Args:
        config: of a run of this project's trainer; changed.
    """
    loss = config.actor_rollout_ref.actor.policy_loss
    if "p" in loss:
        loss.p = None
    if config.algorithm.adv_estimator == HOLDER:
        config.algorithm.norm_adv_by_std_in_grpo = None


def advantage_settings(config: DictConfig) -> AdvantageSettings:
    """The section ``advantage``; masking truncated responses is the last of its transforms.

    Raises:
        ValueError: for a transform without a name or one that cannot be loaded, and for settings
            of truncated responses that do not fit or that nothing would read.
    """
    section = plain(config.advantage)
    if has_truncation_manager(config):
        if truncation_settings(config).truncated == "mask":
            if config.algorithm.adv_estimator != HOLDER:
                raise ValueError(
                    "reward.reward_kwargs.truncated: 'mask' with algorithm.adv_estimator "
                    f"{config.algorithm.adv_estimator!r}; '{HOLDER}' does the masking, choose that"
                )
            section["transforms"] = [*section["transforms"], {"name": "drop_truncated"}]
    # The defaults may stay from a run whose method brings a manager of its own.
    elif (config.reward.get("reward_kwargs") or {}).get("truncated", "grade") not in _DEFAULTS:
        raise ValueError(
            f"reward.reward_kwargs.truncated: not read by reward.reward_manager.name "
            f"{config.reward.reward_manager.name!r}; give {TRUNCATION_MANAGER} "
            "(recipe.holderpo.reward_manager), or remove it"
        )
    return AdvantageSettings(**section)


def has_truncation_manager(config: DictConfig) -> bool:
    """Whether the reward manager is the one of this recipe that knows truncated responses."""
    return bool(config.reward.reward_manager.name == TRUNCATION_MANAGER)


def truncation_settings(config: DictConfig) -> TruncationSettings:
    """The section ``reward.reward_kwargs`` of that reward manager.

    Raises:
        ValueError: for unknown keys, or values that do not fit.
    """
    section = plain(config.reward.get("reward_kwargs") or OmegaConf.create({}))
    known = [field.name for field in fields(TruncationSettings)]
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise ValueError(
            f"reward.reward_kwargs: {', '.join(unknown)}; give only {', '.join(known)}"
        )
    settings = TruncationSettings(**section)
    longest = config.data.max_response_length
    if settings.buffer_tokens is not None and settings.buffer_tokens > longest:
        raise ValueError(
            f"reward.reward_kwargs.buffer_tokens: {settings.buffer_tokens}; give at most "
            f"data.max_response_length, {longest}"
        )
    return settings
