"""Whether the functions that reward responses are there."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

_FUNCTION = "reward.custom_reward_function"
_MANAGER = "reward.reward_manager"


def reward_problems(config: DictConfig) -> Iterator[str]:
    """What verl's reward workers would stop at, after the whole start-up.

    Args:
        config: that is right otherwise.

    Yields:
        One line: field, value, fix.
    """
    from verl.trainer.ppo.reward import get_custom_reward_fn, resolve_reward_manager_cls

    function, manager = config.reward.custom_reward_function, config.reward.reward_manager
    # It is code of the user's and raises what it likes. First, as it may register a manager.
    try:
        get_custom_reward_fn(config)
    except Exception as error:
        yield (
            f"{_FUNCTION}.path: {function.path!r} has no {function.name!r} that can be loaded "
            f"({_why(error)}); give a file or pkg://<module> with that function, or its name in "
            f"{_FUNCTION}.name"
        )
        return
    try:
        resolve_reward_manager_cls(config)
    except Exception as error:
        yield (
            f"{_MANAGER}.name: {manager.name!r} with source {manager.source!r} cannot be loaded "
            f"({_why(error)})"
        )


def _why(error: Exception) -> str:
    """The user's own error, not verl's around it, in one line."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
