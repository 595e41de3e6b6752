"""What can be checked before anything starts: every problem at once, one line each."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from holderpo.control import Controller, build_controller
from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.adapters import adapter_problems
from recipe.holderpo.checks.agent import agent_problems, plays_games
from recipe.holderpo.checks.asynchronous import trainer_problems
from recipe.holderpo.checks.batches import batch_size_problems, has_reference
from recipe.holderpo.checks.data import look_at_data
from recipe.holderpo.checks.devices import device_problems
from recipe.holderpo.checks.files import file_problems
from recipe.holderpo.checks.first_prompts import FirstPrompts, look_at_first_prompts
from recipe.holderpo.checks.from_machine import take_from_machine
from recipe.holderpo.checks.games import Games, look_at_games
from recipe.holderpo.checks.kinds import is_count, kind_problems
from recipe.holderpo.checks.loss_settings import loss_problems
from recipe.holderpo.checks.machine import machine_problems
from recipe.holderpo.checks.model import model_problems
from recipe.holderpo.checks.packages import loggers
from recipe.holderpo.checks.plan import Plan, make_plan
from recipe.holderpo.checks.prompts import look_at_prompts
from recipe.holderpo.checks.resume import plan_start, resume_problems
from recipe.holderpo.checks.rewards import reward_problems
from recipe.holderpo.checks.rollout_correction import (
    correction_problems,
    verl_correction_problems,
)
from recipe.holderpo.checks.rollout_settings import rollout_problems
from recipe.holderpo.checks.ruinous import ruinous_problems
from recipe.holderpo.checks.turn_settings import turn_problems
from recipe.holderpo.checks.versions import UnsupportedVersionError, check_verl_version
from recipe.holderpo.run.ray_settings import connects_to_ray
from recipe.holderpo.sections import HOLDER, POWER_MEAN, advantage_settings, plain

DEVICES = ("cpu", "cuda")


class ConfigError(ValueError):
    """The configuration cannot be run; one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the problems.

        Args:
            problems: each ``field: value; fix``.
        """
        super().__init__("\n".join(problems))
        self.problems = problems


def check_config(config: DictConfig) -> Plan:
    """Check the composed configuration and derive the plan of the run.

    Args:
        config: as composed by Hydra; what it leaves to the machine is filled in.

    Returns:
        The derived numbers.

    Raises:
        ConfigError: with every problem found.
    """
    missing = [f"{key}: not set; give it a value" for key in sorted(OmegaConf.missing_keys(config))]
    missing = [line for line in missing if not line.startswith("reward.reward_model.")]
    if missing:
        raise ConfigError(missing)
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key or 'configuration'}: {error}"]) from error
    problems = [*_versions(), *_names(config), *_device(config)]
    if config.device not in DEVICES:
        raise ConfigError(problems)
    taken = take_from_machine(config, on_cluster=connects_to_ray(config))
    problems += [*_sizes(config), *_run(config), *_method(config), *file_problems(config)]
    controller: Controller | None = None
    try:
        controller = make_controller(config)
        problems += _statistics_are_known(config, controller)
    except ValueError as error:
        problems += str(error).splitlines()
    problems += _advantage(config)
    start, found = plan_start(config, controller)
    problems += found
    data = look_at_games(config) if plays_games(config) else look_at_data(config)
    problems += data.problems
    prompts = FirstPrompts()
    if not problems:
        if isinstance(data, Games):
            prompts = look_at_first_prompts(config, data)
        else:
            prompts.problems, prompts.warnings = look_at_prompts(config, data)
        problems = [*prompts.problems, *_verl_checks(config)]
    # What this machine lacks is no mistake of the configuration, but ends a start.
    lacking = [] if problems else list(machine_problems(config, taken.machine if taken else None))
    if not config.check:
        problems += lacking
    if problems or controller is None:
        raise ConfigError(problems)
    plan = make_plan(config, controller, start, data, prompts, taken)
    return replace(plan, warnings=(*plan.warnings, *lacking))


def make_controller(config: DictConfig) -> Controller:
    """The controller of p, from the section ``p``.

    Raises:
        ValueError: naming the field, its value and the fix.
    """
    rounds = config.trainer.total_training_steps
    # A number of rounds that is wrong is reported by itself: any would do here.
    return build_controller(plain(config.p), num_rounds=rounds if is_count(rounds) else 10**6)


def _versions() -> Iterator[str]:
    try:
        check_verl_version()
    except UnsupportedVersionError as error:
        yield str(error)


def _device(config: DictConfig) -> Iterator[str]:
    switches = ["check", "report.measure_import", *(["cpu.shortcuts"] * (config.device == "cpu"))]
    for field in switches:
        if not isinstance(value := OmegaConf.select(config, field), bool):
            yield f"{field}: {value!r}; give true or false"
    if config.device not in DEVICES:
        yield f"device: {config.device!r}; give one of {', '.join(DEVICES)}"
    elif config.trainer.device != config.device:
        yield (
            f"trainer.device: {config.trainer.device!r}, but device is {config.device!r}; "
            f"choose both with device={config.device}"
        )
    if config.device == "cpu" and config.actor_rollout_ref.actor.strategy != "fsdp2":
        yield (
            f"actor_rollout_ref.actor.strategy: {config.actor_rollout_ref.actor.strategy!r}; "
            "on a CPU only 'fsdp2' starts"
        )
    yield from trainer_problems(config)


def _names(config: DictConfig) -> Iterator[str]:
    if not config.trainer.experiment_name:
        yield "trainer.experiment_name: null; give the run a name (its output folder is called so)"
    if not config.run_dir:
        yield "run_dir: null; give a folder"


def _sizes(config: DictConfig) -> Iterator[str]:
    """Every setting for itself, and only if those are right what they are to each other."""
    of_kind = list(kind_problems(config))
    if of_kind:
        yield from of_kind
        return
    for problems in (batch_size_problems, device_problems, rollout_problems, model_problems):
        yield from problems(config)
    yield from adapter_problems(config)


def _run(config: DictConfig) -> Iterator[str]:
    limit = config.stop_after_skipped_rounds
    if limit is not None and not is_count(limit):
        yield (
            f"stop_after_skipped_rounds: {limit!r}; give a whole number of rounds above 0, or null"
        )
    yield from resume_problems(config)
    if config.trainer.logger is None:
        yield "trainer.logger: null; give a list of loggers, [] for metrics.jsonl alone"
    if not config.trainer.validation_data_dir:
        yield "trainer.validation_data_dir: null; the report reads it, give a folder"
    if config.trainer.val_only:
        yield "trainer.val_only: true; this trainer trains, use verl's own main_ppo to validate"
    if config.global_profiler.tool == "nsys":
        yield "global_profiler.tool: 'nsys'; not supported by this entry point, give 'torch'"
    if (config.get("distillation") or {}).get("enabled"):
        yield "distillation.enabled: true; this recipe's loss replaces verl's distillation loss"


def _method(config: DictConfig) -> Iterator[str]:
    if config.algorithm.adv_estimator == "gae":
        yield (
            "algorithm.adv_estimator: 'gae'; give 'holder' or another with one advantage per "
            "response"
        )
    yield from _dynamic_sampling(config)
    yield from agent_problems(config)
    yield from loss_problems(config)
    yield from turn_problems(config)
    yield from correction_problems(config)
    yield from ruinous_problems(config)


def _dynamic_sampling(config: DictConfig) -> Iterator[str]:
    """A custom sampler gets neither the filter nor its refill settings from verl."""
    filters = config.algorithm.get("filter_groups") or {}
    if filters.get("enable") and config.trainer.v1.sampler.custom_sampler.get("path"):
        yield (
            "trainer.v1.sampler.custom_sampler.path: set, with algorithm.filter_groups.enable; "
            "verl then drops the filter, use one of them"
        )


def _advantage(config: DictConfig) -> Iterator[str]:
    try:
        advantage_settings(config)
    except (ValueError, TypeError) as error:
        yield from str(error).splitlines()


def _statistics_are_known(config: DictConfig, controller: Controller) -> Iterator[str]:
    """Of a controller without them p would stay where it starts."""
    loss, rules = config.actor_rollout_ref.actor.policy_loss, ", ".join(controller.rules.values())
    of_weights = sorted(controller.reads & {"ess_frac", "second_moments"})
    if of_weights and loss.loss_mode == HOLDER and loss.aggregate != POWER_MEAN:
        yield (
            f"p: {rules} reads {', '.join(of_weights)} of the token weights, which are not known "
            f"with actor_rollout_ref.actor.policy_loss.aggregate {loss.aggregate!r}; choose "
            f"'{POWER_MEAN}' or another p"
        )
    filters = config.algorithm.filter_groups.enable
    if "reward_mean" in controller.reads and loss.loss_mode == HOLDER and filters:
        yield (
            f"p: {rules} reads reward_mean, but algorithm.filter_groups.enable leaves out the "
            "groups of equal rewards: set it to false, or choose another p"
        )
    if "reward_mean" in controller.reads and config.algorithm.adv_estimator != HOLDER:
        yield (
            f"p: {rules} reads reward_mean, which comes from algorithm.adv_estimator '{HOLDER}'; "
            f"choose that in place of {config.algorithm.adv_estimator!r}, or another p"
        )


def _verl_checks(config: DictConfig) -> Iterator[str]:
    """Verl's own checks, which import verl: last, and only if nothing else is wrong."""
    from hydra.errors import InstantiationException
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY
    from verl.trainer.ppo.utils import need_critic
    from verl.utils.config import validate_config
    from verl.utils.tracking import Tracking

    loss_mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    if loss_mode not in POLICY_LOSS_REGISTRY:
        yield (
            f"actor_rollout_ref.actor.policy_loss.loss_mode: {loss_mode!r}; "
            f"give one of {', '.join(sorted(POLICY_LOSS_REGISTRY))}"
        )
    estimator = config.algorithm.adv_estimator
    if estimator not in ADV_ESTIMATOR_REGISTRY:
        names = sorted(getattr(name, "value", name) for name in ADV_ESTIMATOR_REGISTRY)
        yield f"algorithm.adv_estimator: {estimator!r}; give one of {', '.join(names)}"
    known = sorted(Tracking.supported_backend)
    for name in loggers(config):
        if name not in known:
            yield f"trainer.logger: {name!r}; give any of {', '.join(known)}"
    checked = config.copy()
    if has_agent(config):
        # verl compares with prompts, not with the turns that a round will have.
        checked.data.train_batch_size = config.actor_rollout_ref.actor.ppo_mini_batch_size
    # Else verl imports vLLM, which may not be here, for the largest rank of adapters.
    checked.actor_rollout_ref.model.lora.merge = True
    try:
        # verl reports its success on stdout and warns of a critic that no estimator here has.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            validate_config(
                config=checked,
                use_reference_policy=has_reference(config),
                use_critic=need_critic(config),
            )
    except InstantiationException as error:
        yield f"{error.__cause__ or error}"
    except (ValueError, AssertionError) as error:
        yield f"verl: {error}"
    yield from verl_correction_problems(config)
    # Also of an agent, whose environment rewards: verl's workers load the function all the same.
    yield from reward_problems(config)
