"""Whether a run that plays episodes of several turns is set up for it."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from holderpo.control.rules import RewardProgress
from recipe.holderpo.alfworld.agent_settings import (
    DROP,
    AgentSettings,
    agent_settings,
    has_agent,
)
from recipe.holderpo.checks.kinds import is_whole
from recipe.holderpo.sections import HOLDER

GAME_ROWS = ("pkg://recipe.holderpo.alfworld.game_rows", "GameRows")
"""``data.custom_cls`` of such a run: path and name."""
_CLASS = "data.custom_cls"


def agent_problems(config: DictConfig) -> Iterator[str]:
    """Settings under which no episode could be played, or not as they say.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    if not has_agent(config):
        if plays_games(config):
            yield (
                f"{_CLASS}.name: {GAME_ROWS[1]!r}, but agent is null; its rows are games to be "
                "played: start from an experiment with an agent (configs/alfworld.yaml)"
            )
        return
    try:
        settings = agent_settings(config)
    except ValueError as error:
        yield from str(error).splitlines()
    else:
        yield from _failed_groups(config, settings)
    yield from _data(config)
    truncated = (config.reward.get("reward_kwargs") or {}).get("truncated", "grade")
    if truncated in ("zero", "soft"):
        yield (
            f"reward.reward_kwargs.truncated: {truncated!r}; the environment rewards the episodes "
            "of an agent, give 'grade', or 'mask' to take turns that were cut off out of the update"
        )


def agent_warnings(config: DictConfig) -> Iterator[str]:
    """Settings that do with an agent what nobody would expect.

    Args:
        config: a checked configuration with an agent.

    Yields:
        One line each.
    """
    settings = agent_settings(config)
    if settings.episode_seconds >= config.no_progress_seconds:
        yield (
            f"agent.episode_seconds: {settings.episode_seconds:g}, and no_progress_seconds is "
            f"{config.no_progress_seconds:g}: an episode that hangs may end the run before it "
            "counts as failed"
        )
    if config.actor_rollout_ref.actor.policy_loss.loss_mode == "geo_mean":
        yield (
            "actor_rollout_ref.actor.policy_loss.loss_mode: 'geo_mean' divides by the empty rows "
            "that fill a round of turns up, too; +method=gmpo is the same loss without them"
        )
    if config.actor_rollout_ref.actor.policy_loss.loss_mode != HOLDER:
        return
    sections = [config.p, *(one for one in config.p.values() if isinstance(one, DictConfig))]
    for high in (one.get("reward_high") for one in sections):
        if high == RewardProgress.reward_high != settings.reward.success:
            yield (
                f"p: reward_high is {high:g}, the reward of a right answer, and an episode that is "
                f"won is worth {settings.reward.success:g}: p would be at its end after a few wins"
            )


def plays_games(config: DictConfig) -> bool:
    """Whether the rows are games of ALFWorld's manifests."""
    chosen = config.data.custom_cls
    return (chosen.path, chosen.name) == GAME_ROWS


def _failed_groups(config: DictConfig, settings: AgentSettings) -> Iterator[str]:
    filters = config.algorithm.get("filter_groups") or {}
    if filters.get("enable") and settings.failed_episodes == DROP:
        yield (
            "algorithm.filter_groups.enable: true with agent.failed_episodes drop; verl ends the "
            "run at a group whose episodes were all dropped, give zero, or set it to false"
        )


def _data(config: DictConfig) -> Iterator[str]:
    data = config.data
    if data.custom_cls.path is None:
        path, name = GAME_ROWS
        yield (
            f"{_CLASS}.path: null; an agent plays games, which its rows name: give {path} and the "
            f"name {name} (configs/alfworld.yaml has them)"
        )
    if not plays_games(config):
        return
    if data.shuffle:
        yield (
            f"data.shuffle: {str(data.shuffle).lower()}; which game a group plays follows from "
            "data.seed and the round, in an order that is drawn already: give false"
        )
    if not is_whole(data.seed):
        yield f"data.seed: {data.seed!r}; the order of the games needs a whole number"
