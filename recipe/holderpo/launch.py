"""Start Ray and run the trainer in the launching process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.console import Console
from recipe.holderpo.recorder import METRICS_FILE, MetricsFile

# What verl, vLLM and torch read from the environment of each process when device is cpu.
CPU_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TOKENIZERS_PARALLELISM": "false",
    # Each process computes little and they outnumber the cores: more threads only contend.
    "OMP_NUM_THREADS": "1",
    "TQ_NUM_THREADS": "1",
}


def set_environment(config: DictConfig) -> dict[str, str]:
    """Set what the libraries read from the environment; call before verl is imported.

    Args:
        config: the composed configuration.

    Returns:
        The variables, to be handed to Ray's workers too.
    """
    variables = {"TENSORBOARD_DIR": str(Path(config.run_dir) / "tensorboard")}
    if config.device == "cpu":
        variables |= CPU_ENVIRONMENT
    os.environ.update(variables)
    return variables


def train(config: DictConfig, console: Console) -> None:
    """Run the whole training in this process, with Ray actors for everything else.

    Args:
        config: the checked configuration.
        console: where progress is shown.
    """
    variables = set_environment(config)

    import ray
    import transfer_queue as tq
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

    os.environ["TRANSFER_QUEUE_ENABLE"] = "1"
    runtime_env = get_ppo_ray_runtime_env(config)
    runtime_env["env_vars"] |= variables | {"TRANSFER_QUEUE_ENABLE": "1"}
    ray_settings: dict[str, Any] = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    ray_settings["runtime_env"] = runtime_env | (ray_settings.get("runtime_env") or {})
    ray.init(**ray_settings)
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    tq.init(config.transfer_queue)
    try:
        _fit(config, console)
    finally:
        tq.close()
        ray.shutdown()


def _fit(config: DictConfig, console: Console) -> None:
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils.import_utils import load_class_from_fqn

    from recipe.holderpo.trainer import HolderTrainerSync

    trainer = HolderTrainerSync(config=config)
    trainer.metrics_file = MetricsFile(Path(config.run_dir) / METRICS_FILE)
    trainer.on_step = console.step
    trainer.init()
    manager_class = AgentLoopManagerTQ
    if name := config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class"):
        manager_class = load_class_from_fqn(name, "AgentLoopManager")
    agent_loop_manager = manager_class.create(
        config=config,
        llm_client=trainer.get_llm_client(),
        teacher_client=trainer.get_teacher_client(),
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )
    trainer.metrics_file.drop_after(trainer.global_steps)
    console.start_bar(initial=trainer.global_steps, total=trainer.total_training_steps)
    trainer.fit(agent_loop_manager)
    console.end_bar()
