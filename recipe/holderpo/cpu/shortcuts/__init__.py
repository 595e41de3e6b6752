"""Ways around verl and vLLM that only save seconds on a CPU; ``cpu.shortcuts=false`` takes none.

On a cluster the milliseconds, messages and processes that verl spends on each response hide behind
generation. On two cores, with a tiny model, they are most of a run.
"""

from __future__ import annotations

from omegaconf import DictConfig

# Tells every process of a run whether to take them; "0" for not.
VARIABLE = "HOLDERPO_CPU_SHORTCUTS"
MANAGER = "recipe.holderpo.cpu.shortcuts.rollout.CpuAgentLoopManager"


def leave_out(config: DictConfig) -> None:
    """Put verl's own workers of rollouts and rewards in place of those of the shortcuts.

    Args:
        config: of a run on a CPU without shortcuts; changed. Workers of the user's stay.
    """
    agent = config.actor_rollout_ref.rollout.agent
    if agent.agent_loop_manager_class == MANAGER:
        agent.agent_loop_manager_class = None
    if config.reward.num_workers == 0:
        config.reward.num_workers = 1
