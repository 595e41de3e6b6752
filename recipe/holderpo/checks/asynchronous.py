"""verl's trainers, one of which lets rollouts go on over an update: what goes with them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from holderpo.number_kinds import is_number
from recipe.holderpo.checks.checkpoints import UNDER_WAY
from recipe.holderpo.checks.kinds import is_count

SYNC, COLOCATE_ASYNC, SEPARATE_ASYNC = "sync", "colocate_async", "separate_async"
_V1 = "trainer.v1"
_MODE = f"{_V1}.trainer_mode"
_WARMUP = f"{_V1}.{COLOCATE_ASYNC}.num_warmup_batches"
_THRESHOLD, _STRATEGY = (
    f"{_V1}.sampler.max_off_policy_{name}" for name in ("threshold", "strategy")
)
# How often verl samples and updates in a step; not among its own settings of these two trainers.
_UPDATES = "parameter_sync_step"
_LOG_PROBS = "actor_rollout_ref.rollout.calculate_log_probs"
_UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
# In the folder of prompts under way: the list of the processes that kept them.
_UNITS_FILE = "simple_storage/storage_unit_info.json"


def is_asynchronous(config: DictConfig) -> bool:
    """Whether rollouts go on over an update."""
    return bool(config.trainer.v1.trainer_mode == COLOCATE_ASYNC)


def prompts_ahead(config: DictConfig) -> int:
    """Prompts that are handed out before the first step, beside its own.

    Args:
        config: a checked configuration.
    """
    if not is_asynchronous(config):
        return 0
    batches = config.trainer.v1.colocate_async.num_warmup_batches
    return math.floor(batches * config.data.train_batch_size)


def describe_trainer(config: DictConfig) -> Iterator[str]:
    """The line of the plan that says how far rollouts are ahead.

    Args:
        config: a checked configuration.
    """
    if not is_asynchronous(config):
        return
    sampler, ahead = config.trainer.v1.sampler, prompts_ahead(config)
    limit, what = sampler.max_off_policy_threshold, "dropped"
    if limit is not None and sampler.max_off_policy_strategy == "wait":
        # verl waits one step before it would drop.
        limit, what = limit - 1, "waited for"
    beyond = f", those of {limit} steps or more are {what}" if limit is not None else ""
    yield f"async      rollouts {ahead} prompts ahead of their step{beyond}"


def trainer_problems(config: DictConfig) -> Iterator[str]:
    """A trainer that this recipe does not have, and what its asynchronous one cannot do.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    v1 = config.trainer.v1
    mode = v1.trainer_mode
    if not config.trainer.use_v1:
        yield (
            f"trainer.use_v1: {config.trainer.use_v1}; this recipe trains with verl's V1 trainers, "
            "give true"
        )
    if mode == SEPARATE_ASYNC:
        yield (
            f"{_MODE}: '{SEPARATE_ASYNC}'; it samples and updates several times in a step, of "
            f"which p has one value: give '{SYNC}' or '{COLOCATE_ASYNC}'"
        )
    elif mode not in (SYNC, COLOCATE_ASYNC):
        yield f"{_MODE}: {mode!r}; give '{SYNC}' or '{COLOCATE_ASYNC}'"
    elif (times := v1[mode].get(_UPDATES, 1)) != 1:
        yield (
            f"{_V1}.{mode}.{_UPDATES}: {times!r}; it samples and updates as many times in a step, "
            "of which p has one value: leave it out"
        )
    if mode == COLOCATE_ASYNC:
        yield from _asynchronous_problems(config)


def _asynchronous_problems(config: DictConfig) -> Iterator[str]:
    v1 = config.trainer.v1
    warmup = v1.colocate_async.num_warmup_batches
    if not is_number(warmup) or warmup < 0:
        yield f"{_WARMUP}: {warmup!r}; give a number of batches from 0 on"
    limit = v1.sampler.max_off_policy_threshold
    if limit is not None and not is_count(limit):
        yield f"{_THRESHOLD}: {limit!r}; give a number of steps above 0, or null"
    strategy = v1.sampler.max_off_policy_strategy
    if strategy not in ("drop", "wait"):
        yield f"{_STRATEGY}: {strategy!r}; give 'drop' or 'wait'"
    elif strategy == "drop" and is_count(limit) and is_number(warmup):
        # The steps that a response waits for its turn, even if it is done at once.
        wait = math.ceil(warmup)
        if limit <= wait:
            yield (
                f"{_THRESHOLD}: {limit}, with {_WARMUP} {warmup:g} responses wait up to {wait} "
                "steps for their turn and would be dropped for that alone; give at least "
                f"{wait + 1}"
            )


def asynchronous_warnings(config: DictConfig) -> Iterator[str]:
    """What goes unseen of rollouts that are older than a step.

    Args:
        config: a checked configuration.

    Yields:
        One line each.
    """
    if not is_asynchronous(config):
        return
    if not config.actor_rollout_ref.rollout.calculate_log_probs:
        yield (
            f"{_MODE} '{COLOCATE_ASYNC}' without {_LOG_PROBS}: how far the policy has moved from "
            "that of older responses is neither logged nor corrected (set it to true)"
        )
    elif config.algorithm.rollout_correction.rollout_is is None:
        yield (
            f"{_MODE} '{COLOCATE_ASYNC}' without algorithm.rollout_correction.rollout_is: "
            "responses of older weights count as if the present ones had written them (set it to "
            "sequence)"
        )


def under_way_problems(config: DictConfig, checkpoint: Path) -> Iterator[str]:
    """Prompts under way that cannot be taken up again.

    Args:
        config: as composed.
        checkpoint: that the run goes on from.

    Yields:
        One line: field, value, fix.
    """
    path = checkpoint / UNDER_WAY / _UNITS_FILE
    if not is_asynchronous(config) or not path.exists():
        return
    try:
        num_units = len(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        yield (
            f"{path}: cannot be read ({error}); remove {path.parents[1]} to go on without the "
            "prompts that were under way"
        )
        return
    now = config.transfer_queue.backend.SimpleStorage.num_data_storage_units
    if now != num_units:
        yield (
            f"{_UNITS}: {now}, but {checkpoint} has prompts under way in {num_units}; give "
            f"{_UNITS}={num_units}"
        )


def under_way_warnings(config: DictConfig, checkpoint: Path) -> Iterator[str]:
    """Prompts that were under way and will not be answered, or of which nothing is known.

    Args:
        config: as composed.
        checkpoint: that the run goes on from.

    Yields:
        One line.
    """
    has_them = (checkpoint / UNDER_WAY).is_dir()
    if has_them and not is_asynchronous(config):
        yield (
            f"{_MODE} '{SYNC}': the prompts that were under way in {checkpoint} are left out until "
            "the data begins anew"
        )
    if is_asynchronous(config) and not has_them:
        yield f"{checkpoint} has no prompts under way: rollouts begin anew with the next ones"
