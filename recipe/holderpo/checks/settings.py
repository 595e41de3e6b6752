"""What can be checked before anything starts: every problem at once, one line each."""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from holderpo.control import Controller, build_controller
from holderpo.objective import log_space_clip
from recipe.holderpo.checks.data import data_files, look_at_data
from recipe.holderpo.checks.model import model_problems
from recipe.holderpo.checks.plan import Plan, make_plan
from recipe.holderpo.checks.prompts import look_at_prompts
from recipe.holderpo.checks.resume import plan_start, resume_problems
from recipe.holderpo.checks.versions import UnsupportedVersionError, check_verl_version
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
        config: as composed by Hydra.

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
    problems = [*_versions(), *_names(config), *_device(config), *_batches(config)]
    problems += [*_lengths(config), *_run(config), *_method(config), *_files(config)]
    controller: Controller | None = None
    try:
        controller = make_controller(config)
        problems += _statistics_are_known(config, controller)
    except ValueError as error:
        problems += str(error).splitlines()
    problems += _advantage(config)
    start, found = plan_start(config, controller)
    problems += found
    data = look_at_data(config)
    problems += data.problems
    prompt_warnings: list[str] = []
    if not problems:
        problems, prompt_warnings = look_at_prompts(config, data)
        problems += _verl_checks(config)
    if problems or controller is None:
        raise ConfigError(problems)
    return make_plan(config, controller, start, [*data.warnings, *prompt_warnings])


def make_controller(config: DictConfig) -> Controller:
    """The controller of p, from the section ``p``.

    Raises:
        ValueError: naming the field, its value and the fix.
    """
    rounds = config.trainer.total_training_steps
    # A number of rounds that is wrong is reported by itself: any would do here.
    return build_controller(plain(config.p), num_rounds=rounds if _is_count(rounds) else 10**6)


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
    if config.trainer.v1.trainer_mode != "sync" or not config.trainer.use_v1:
        yield (
            f"trainer.v1.trainer_mode: {config.trainer.v1.trainer_mode!r} with trainer.use_v1 "
            f"{config.trainer.use_v1}; this recipe trains with 'sync' and true"
        )


def _names(config: DictConfig) -> Iterator[str]:
    if not config.trainer.experiment_name:
        yield "trainer.experiment_name: null; give the run a name (its output folder is called so)"
    if not config.run_dir:
        yield "run_dir: null; give a folder"


def _batches(config: DictConfig) -> Iterator[str]:
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    counts = {
        "trainer.total_training_steps": "the number of rollout rounds (the schedule of p needs it)",
        "data.train_batch_size": "a number of prompts",
        "actor_rollout_ref.actor.ppo_mini_batch_size": "a number of prompts",
        "actor_rollout_ref.actor.ppo_epochs": "a number of passes over a rollout batch",
        "actor_rollout_ref.rollout.n": "a number of responses per prompt",
        "trainer.n_gpus_per_node": "a number of devices",
        "trainer.nnodes": "a number of machines",
    }
    bad = {
        key: what for key, what in counts.items() if not _is_count(OmegaConf.select(config, key))
    }
    for key, what in bad.items():
        yield f"{key}: {OmegaConf.select(config, key)!r}; give {what}, a whole number above 0"
    if bad:
        return
    if rollout.n < 2:
        yield (
            f"actor_rollout_ref.rollout.n: {rollout.n}; "
            "a group-relative advantage needs at least 2 responses per prompt"
        )
    elif config.data.train_batch_size % actor.ppo_mini_batch_size == 0:
        yield from _micro_batches(config)
    if config.data.train_batch_size % actor.ppo_mini_batch_size:
        yield (
            f"actor_rollout_ref.actor.ppo_mini_batch_size: {actor.ppo_mini_batch_size}; give a "
            f"number of prompts that divides data.train_batch_size ({config.data.train_batch_size})"
        )


def _micro_batches(config: DictConfig) -> Iterator[str]:
    """Verl's own divisibility rules, which it would only assert after the whole start-up."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    ranks = max(devices // actor.get("ulysses_sequence_parallel_size", 1), 1)
    update_rows = actor.ppo_mini_batch_size * rollout.n
    batch_rows = config.data.train_batch_size * rollout.n
    if update_rows % ranks:
        yield (
            f"trainer.n_gpus_per_node * trainer.nnodes: {ranks} data-parallel ranks; must divide "
            f"the {update_rows} rows of an update (ppo_mini_batch_size * rollout.n)"
        )
        return
    if not actor.use_dynamic_bsz:
        yield from _divides(config, "actor.ppo_micro_batch_size_per_gpu", update_rows // ranks)
    if not rollout.log_prob_use_dynamic_bsz:
        yield from _divides(
            config, "rollout.log_prob_micro_batch_size_per_gpu", batch_rows // ranks
        )


def _lengths(config: DictConfig) -> Iterator[str]:
    fields = ("data.max_prompt_length", "data.max_response_length")
    bad = [field for field in fields if not _is_count(OmegaConf.select(config, field))]
    for field in bad:
        yield f"{field}: {OmegaConf.select(config, field)!r}; give a number of tokens above 0"
    if not bad:
        yield from model_problems(config)


def _divides(config: DictConfig, field: str, rows: int) -> Iterator[str]:
    value = OmegaConf.select(config.actor_rollout_ref, field)
    if not _is_count(value) or rows % value:
        yield (
            f"actor_rollout_ref.{field}: {value!r}; give a number that divides the {rows} rows "
            "of each rank"
        )


def _run(config: DictConfig) -> Iterator[str]:
    limit = config.stop_after_skipped_rounds
    if limit is not None and not _is_count(limit):
        yield (
            f"stop_after_skipped_rounds: {limit!r}; give a whole number of rounds above 0, or null"
        )
    yield from resume_problems(config)
    if not config.trainer.validation_data_dir:
        yield "trainer.validation_data_dir: null; the report reads it, give a folder"
    if config.trainer.val_only:
        yield "trainer.val_only: true; this trainer trains, use verl's own main_ppo to validate"
    if config.global_profiler.tool == "nsys":
        yield "global_profiler.tool: 'nsys'; not supported by this entry point, give 'torch'"
    if (config.get("distillation") or {}).get("enabled"):
        yield "distillation.enabled: true; this recipe's loss replaces verl's distillation loss"


def _method(config: DictConfig) -> Iterator[str]:
    actor = config.actor_rollout_ref.actor
    algorithm = config.algorithm
    if algorithm.adv_estimator == "gae":
        yield (
            "algorithm.adv_estimator: 'gae'; give 'holder' or another with one advantage per "
            "response"
        )
    yield from _dynamic_sampling(config)
    if actor.policy_loss.loss_mode != HOLDER:
        return
    for name in ("clip_ratio_low", "clip_ratio_high"):
        value = actor[name]
        upper = 1 if name == "clip_ratio_low" else float("inf")
        if not _is_number(value) or not 0 < value < upper:
            yield (
                f"actor_rollout_ref.actor.{name}: {value!r}; give a distance from 1 in "
                f"(0, {upper:g})"
            )
    if actor.loss_agg_mode != "seq-mean-token-mean":
        yield (
            f"actor_rollout_ref.actor.loss_agg_mode: {actor.loss_agg_mode!r}; "
            "the Hölder loss needs 'seq-mean-token-mean'"
        )
    yield from _dual_clip(actor)
    correction = algorithm.get("rollout_correction") or {}
    if correction.get("rollout_is") not in (None, "sequence"):
        yield (
            f"algorithm.rollout_correction.rollout_is: {correction.get('rollout_is')!r}; the "
            "Hölder loss has one ratio per response, set it to 'sequence' or null"
        )
    if correction.get("bypass_mode"):
        yield (
            "algorithm.rollout_correction.bypass_mode: true; set it to false: the ratio would also "
            "hold the difference between rollout engine and trainer"
        )


def _dynamic_sampling(config: DictConfig) -> Iterator[str]:
    """A custom sampler gets neither the filter nor its refill settings from verl."""
    filters = config.algorithm.get("filter_groups") or {}
    if filters.get("enable") and config.trainer.v1.sampler.custom_sampler.get("path"):
        yield (
            "trainer.v1.sampler.custom_sampler.path: set, with algorithm.filter_groups.enable; "
            "verl then drops the filter, use one of them"
        )


def _dual_clip(actor: DictConfig) -> Iterator[str]:
    """It must lie above the upper end of the clip range, wherever that comes from."""
    loss = actor.policy_loss
    field = "actor_rollout_ref.actor.policy_loss.dual_clip"
    dual_clip, log_ratio = loss.get("dual_clip"), loss.get("clip_log_ratio")
    if dual_clip is None:
        return
    if not _is_number(dual_clip):
        yield f"{field}: {dual_clip!r}; give a number or null"
        return
    upper = 1 + actor.clip_ratio_high if _is_number(actor.clip_ratio_high) else math.inf
    if log_ratio is not None:
        try:
            upper = 1 + log_space_clip(log_ratio).clip_high
        except (ValueError, TypeError):
            return  # Reported where the section itself is checked.
    if not dual_clip > upper:
        yield f"{field}: {dual_clip}; give a ratio above the clip range's end {upper:g}, or null"


def _files(config: DictConfig) -> Iterator[str]:
    for field, path in data_files(config):
        if not _is_remote(path) and not Path(path).expanduser().exists():
            yield f"{field}: {path} does not exist; prepare it ({config.prepared_by})"
    model = str(config.actor_rollout_ref.model.path)
    if not Path(model).expanduser().exists() and not _is_hub_name(model):
        yield (
            f"actor_rollout_ref.model.path: {model} does not exist; give a folder or the name of a "
            f"model on the hub, or prepare it ({config.prepared_by})"
        )


def _advantage(config: DictConfig) -> Iterator[str]:
    try:
        advantage_settings(config)
    except (ValueError, TypeError) as error:
        yield str(error)


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
    if "reward_mean" in controller.reads and config.algorithm.adv_estimator != HOLDER:
        yield (
            f"p: {rules} reads reward_mean, which comes from algorithm.adv_estimator '{HOLDER}'; "
            f"choose that in place of {config.algorithm.adv_estimator!r}, or another p"
        )


def _verl_checks(config: DictConfig) -> Iterator[str]:
    """Verl's own checks, which import verl: last, and only if nothing else is wrong."""
    from hydra.errors import InstantiationException
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

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
    try:
        # verl reports its success on stdout and warns of a critic that no estimator here has.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            validate_config(
                config=config,
                use_reference_policy=need_reference_policy(config),
                use_critic=need_critic(config),
            )
    except InstantiationException as error:
        yield f"{error.__cause__ or error}"
    except (ValueError, AssertionError) as error:
        yield f"verl: {error}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_hub_name(path: str) -> bool:
    """``name`` or ``owner/name``, unless the owner is a folder here: then it is a mistyped path."""
    owner, slash, _ = path.partition("/")
    return _is_remote(path) or (
        re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) is not None
        and not path.startswith(".")
        and not (slash and Path(owner).is_dir())
    )


def _is_remote(path: str) -> bool:
    return "://" in path
