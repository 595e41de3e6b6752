"""Whether the settings of the advantage fit what a row is: a response or a turn of an episode."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from holderpo.advantage import EPISODE, TURN, AdvantageSettings
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent
from recipe.holderpo.sections import HOLDER, advantage_settings

_GRPO = "grpo"
_ESTIMATOR = "algorithm.adv_estimator"


def turn_problems(config: DictConfig) -> Iterator[str]:
    """Settings of the advantage that ask for turns where there are none, or misread turns.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    try:
        settings = advantage_settings(config)
    except (ValueError, TypeError):
        return  # Reported where the section itself is checked.
    if not has_agent(config):
        for field, value in _about_turns(settings):
            yield (
                f"{field}: {value!r}, but agent is null; it needs rows of turns: start from an "
                f"experiment with an agent, or give {getattr(AdvantageSettings(), _name(field))!r}"
            )
        return
    estimator = config.algorithm.adv_estimator
    if estimator not in (HOLDER, _GRPO):
        yield (
            f"{_ESTIMATOR}: {estimator!r} with an agent; it would take every turn for a response, "
            f"give {HOLDER}, or {_GRPO}, which goes by the last turn of each episode"
        )
    elif estimator != HOLDER:
        for field, value in [*_about_turns(settings), *_about_weights(settings)]:
            yield f"{field}: {value!r} with {_ESTIMATOR} {estimator!r}; choose {HOLDER} for it"
    elif config.algorithm.use_kl_in_reward:
        yield (
            "algorithm.use_kl_in_reward: true with an agent; the advantage is made of the rewards "
            "of turns, not of tokens: use actor_rollout_ref.actor.use_kl_loss"
        )
    yield from _difficulty(config, settings)


def turn_warnings(config: DictConfig) -> Iterator[str]:
    """Settings of the advantage that nothing will read.

    Args:
        config: a checked configuration.

    Yields:
        One line each.
    """
    settings = advantage_settings(config)
    if not has_agent(config):
        for field, _ in _about_weights(settings):
            yield f"{field} has no effect: without an agent every response is one row"
    if settings.step_weight == 0 and settings.step_discount != AdvantageSettings().step_discount:
        yield "advantage.step_discount has no effect: it belongs to advantage.step_weight above 0"


def describe_credit(config: DictConfig) -> str:
    """How the turns of an episode share what it is worth, for the plan.

    Args:
        config: a checked configuration with an agent.

    Returns:
        One line.
    """
    if config.algorithm.adv_estimator != HOLDER:
        return "the last turn's reward among those of the group's episodes, for every turn"
    settings = advantage_settings(config)
    compared = (
        "returns among the group's episodes"
        if settings.unit == EPISODE
        else "rewards among all turns of the group"
    )
    by_step = "none by step"
    if settings.step_weight > 0:
        by_step = f"by step {settings.step_weight:g} (discount {settings.step_discount:g})"
    return f"{compared}, {by_step}; every {settings.row_weight} counts the same"


def _about_turns(settings: AdvantageSettings) -> Iterator[tuple[str, object]]:
    """What needs rows of turns."""
    if settings.unit != EPISODE:
        yield "advantage.unit", settings.unit
    if settings.step_weight > 0:
        yield "advantage.step_weight", settings.step_weight


def _about_weights(settings: AdvantageSettings) -> Iterator[tuple[str, object]]:
    if settings.row_weight != TURN:
        yield "advantage.row_weight", settings.row_weight


def _name(field: str) -> str:
    return field.rpartition(".")[2]


def _difficulty(config: DictConfig, settings: AdvantageSettings) -> Iterator[str]:
    """The transform that needs rewards in [0, 1] would end the run in its first round."""
    if not any(one["name"] == "weight_by_difficulty" for one in settings.transforms):
        return
    try:
        reward = agent_settings(config).reward
    except (ValueError, TypeError):
        return  # Reported where the section itself is checked.
    is_in_range = reward.failure >= 0 and reward.success <= 1
    if not is_in_range or reward.malformed_penalty > 0 or reward.inadmissible_penalty > 0:
        yield (
            "advantage.transforms: weight_by_difficulty needs rewards in [0, 1], and agent.reward "
            f"has success {reward.success:g}, failure {reward.failure:g} and penalties "
            f"{reward.malformed_penalty:g} and {reward.inadmissible_penalty:g}; give rewards "
            "in [0, 1] and penalties 0, or leave the transform out"
        )
