"""What verl's entry point loads at the end of ``import verl``, in every verl process.

It only leaves notes for later: the loss, the advantage estimator, an agent loop and a reward
manager are registered when verl's own registries are imported, so a process that never needs them
(vLLM's) does not pay for them. verl swallows errors raised here, so they are logged as errors
first.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from types import ModuleType

from wrapt import register_post_import_hook

from recipe.holderpo.checks.versions import UnsupportedVersionError, check_verl_version

CPU_PLATFORM = "cpu"
# Agent loops by the name that `rollout.agent.default_agent_loop` or a row of the data gives.
AGENT_LOOPS = {
    "single_turn_any_tokenizer": "recipe.holderpo.agent_loop.AnyTokenizerLoop",
    "alfworld": "recipe.holderpo.alfworld.alfworld_loop.AlfworldLoop",
}
REWARD_MANAGER = "recipe.holderpo.reward_manager"


def register_algorithms(core_algos: ModuleType) -> None:
    """Register the ``holder`` loss and advantage estimator in verl's ``core_algos``."""
    from recipe.holderpo.advantage import compute_holder_advantage
    from recipe.holderpo.policy_loss import compute_policy_loss_holder
    from recipe.holderpo.sections import HOLDER

    core_algos.register_policy_loss(HOLDER)(compute_policy_loss_holder)
    core_algos.register_adv_est(HOLDER)(compute_holder_advantage)


def register_agent_loops(agent_loop: ModuleType) -> None:
    """Add this project's to verl's agent loops, by name only."""
    for name, target in AGENT_LOOPS.items():
        agent_loop._agent_loop_registry[name] = {"_target_": target}


def import_reward_manager(_: ModuleType) -> None:
    """Bring the reward manager that knows truncated responses, once verl's are there."""
    import_module(REWARD_MANAGER)


def register_reward_manager(reward_manager: ModuleType) -> None:
    """Add it to verl's, whichever of the two was imported first."""
    from verl.experimental.reward_loop.reward_manager import register

    from recipe.holderpo.sections import TRUNCATION_MANAGER

    register(TRUNCATION_MANAGER)(reward_manager.TruncationRewardManager)


def _load() -> None:
    try:
        check_verl_version()
    except UnsupportedVersionError as error:
        logging.getLogger(__name__).error("%s", error)
        raise
    register_post_import_hook(register_algorithms, "verl.trainer.ppo.core_algos")
    register_post_import_hook(register_agent_loops, "verl.experimental.agent_loop.agent_loop")
    register_post_import_hook(import_reward_manager, "verl.experimental.reward_loop.reward_manager")
    register_post_import_hook(register_reward_manager, REWARD_MANAGER)
    if os.environ.get("VERL_PLATFORM") == CPU_PLATFORM:
        from recipe.holderpo.cpu import activate

        activate()


_load()
