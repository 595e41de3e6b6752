"""Start Ray, run the trainer in the launching process, and end everything again."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from holderpo.studies.run_files import METRICS_FILE
from recipe.holderpo.alfworld.agent_settings import agent_settings, has_agent
from recipe.holderpo.checks.checkpoints import checkpoints_of
from recipe.holderpo.run.cluster import ClusterError, check_before_start
from recipe.holderpo.run.command import how_to_go_on
from recipe.holderpo.run.console import Console
from recipe.holderpo.run.environment import run_environment
from recipe.holderpo.run.phases import FIRST_UPDATE, PHASES_FILE, Phases
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.ray_settings import connects_to_ray, init_settings, token_problem
from recipe.holderpo.run.recorder import MetricsFile
from recipe.holderpo.run.watch import Watch

if TYPE_CHECKING:
    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup
    from recipe.holderpo.checks.plan import Plan


def train(config: DictConfig, console: Console, plan: Plan) -> None:
    """Run the whole training in this process, with Ray actors for everything else.

    verl's own entry point runs the trainer in one more Ray actor; here the launching process is
    the driver, so that its errors, its keyboard and its screen are the user's.

    Args:
        config: the checked configuration.
        console: where progress is shown.
        plan: of the run.
    """
    progress = Progress()
    watch = Watch(
        console,
        progress,
        no_progress_seconds=config.no_progress_seconds,
        how_to_go_on=partial(how_to_go_on, config, sys.argv[1:]),
    )
    try:
        _train(config, console, plan, watch, progress)
    except BaseException as error:
        explained = watch.explain(error)
        if explained is not error:
            raise explained from error
        raise
    finally:
        watch.end_processes()


def _train(
    config: DictConfig,
    console: Console,
    plan: Plan,
    watch: Watch,
    progress: Progress,
) -> None:
    phases = Phases(Path(config.run_dir) / PHASES_FILE, console.phase)
    import ray
    import transfer_queue as tq
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

    os.environ["TRANSFER_QUEUE_ENABLE"] = "1"
    runtime_env = get_ppo_ray_runtime_env(config)
    runtime_env["env_vars"] |= run_environment(config) | {"TRANSFER_QUEUE_ENABLE": "1"}
    if connects_to_ray(config):
        # Each rank writes to it from the folder in which its node's Ray was started.
        config.trainer.default_local_dir = str(checkpoints_of(config))
    settings = init_settings(config, runtime_env)
    try:
        ray.init(**settings)
    except ConnectionError as error:
        if problem := token_problem(settings["address"], error):
            raise ClusterError([problem]) from error
        raise
    watch.ray_is_up()
    phases.mark("Ray up")
    # With a limit of its own, which may be longer than that of a run without progress.
    progress.now("the nodes of the Ray cluster", is_limited=False)
    check_before_start(config, console.say)
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    progress.now("TransferQueue")
    tq.init(config.transfer_queue)
    phases.mark("TransferQueue up")
    _fit(config, console, phases, plan, progress)


def _fit(
    config: DictConfig,
    console: Console,
    phases: Phases,
    plan: Plan,
    progress: Progress,
) -> None:
    import transfer_queue as tq
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils.import_utils import load_class_from_fqn

    from recipe.holderpo.trainer import TRAINERS

    trainer = TRAINERS[config.trainer.v1.trainer_mode](config=config)
    trainer.controller = plan.controller
    trainer.start = plan.start
    trainer.progress = progress
    trainer.log_path = console.log_path
    trainer.metrics_file = MetricsFile(Path(config.run_dir) / METRICS_FILE)
    trainer.on_step = console.step
    if has_agent(config):
        progress.now("environment workers")
        trainer.environments = _start_environments(config)
        phases.mark("environments up")
    manager_class = AgentLoopManagerTQ
    if name := config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class"):
        manager_class = load_class_from_fqn(name, "AgentLoopManager")
    if hasattr(manager_class, "start_early"):
        manager_class.start_early(config)
    progress.now("actor and vLLM")
    trainer.init()
    phases.mark("actor and vLLM up")
    agent_loop_manager = manager_class.create(
        config=config,
        llm_client=trainer.get_llm_client(),
        teacher_client=trainer.get_teacher_client(),
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )
    if trainer.global_steps > 0:
        console.say(f"resumed after step {trainer.global_steps}")
        trainer.metrics_file.drop_after(trainer.global_steps)
    trainer.on_first_update = lambda: phases.mark(FIRST_UPDATE)
    console.start_bar(initial=trainer.global_steps, total=trainer.total_training_steps)
    trainer.fit(agent_loop_manager)
    trainer.logger.finish(exit_code=0)
    # Here, where the trainer still holds the actors: without it they end, and the watch would take
    # the end of a vLLM engine for a death.
    tq.close()


def _start_environments(config: DictConfig) -> EnvironmentGroup:
    """The environment workers; agent loops find them by name."""
    from recipe.holderpo.alfworld.environment_group import EnvironmentGroup

    try:
        return EnvironmentGroup.start(agent_settings(config).environment, named=True)
    except ValueError as error:
        raise ValueError(f"agent.environment.{error}") from error
