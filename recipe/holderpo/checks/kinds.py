"""Whether each setting is of the right kind, before anything is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from holderpo.number_kinds import is_whole
from recipe.holderpo.checks.defaults import base_values, changed_settings

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
_MODEL = "actor_rollout_ref.model"


def is_count(value: Any) -> bool:
    """Whether a value is a whole number above 0."""
    return is_whole(value, at_least=1)


def is_number(value: Any) -> bool:
    """Whether a value is a number, true and false not among them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# Whole numbers above 0.
COUNTS: Mapping[str, str] = {
    "trainer.total_training_steps": "the number of rollout rounds (the schedule of p needs it)",
    "trainer.total_epochs": "a number of passes over the data",
    "trainer.n_gpus_per_node": "a number of devices",
    "trainer.nnodes": "a number of machines",
    "data.train_batch_size": "a number of prompts",
    "data.max_prompt_length": "a number of tokens",
    "data.max_response_length": "a number of tokens",
    f"{ACTOR}.ppo_mini_batch_size": "a number of prompts",
    f"{ACTOR}.ppo_epochs": "a number of passes over a rollout batch",
    f"{ACTOR}.ulysses_sequence_parallel_size": "a number of devices per response",
    f"{ROLLOUT}.n": "a number of responses per prompt",
    f"{ROLLOUT}.val_kwargs.n": "a number of responses per held-out prompt",
    f"{ROLLOUT}.tensor_model_parallel_size": "a number of devices per copy of the model",
    f"{ROLLOUT}.data_parallel_size": "a number of copies of the model in one engine",
    f"{ROLLOUT}.pipeline_model_parallel_size": "a number of stages of the model",
    f"{ROLLOUT}.max_num_seqs": "a number of responses at once",
    f"{ROLLOUT}.max_num_batched_tokens": "a number of tokens at once",
    f"{ROLLOUT}.agent.num_workers": "a number of rollout workers",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": "a number of storage processes",
}
_Range = tuple[str, Callable[[Any], bool]]
_FROM_ZERO: _Range = ("a whole number from 0 on", lambda value: is_whole(value, at_least=0))
_WHOLE: _Range = ("a whole number; -1 for never", is_whole)
_ROWS: _Range = ("a whole number of rows; -1 for all", is_whole)
_COUNT_OR_NULL: _Range = ("a whole number above 0, or null", lambda v: v is None or is_count(v))
_NOT_NEGATIVE: _Range = ("a number from 0 on", lambda value: is_number(value) and value >= 0)
_POSITIVE: _Range = ("a number above 0", lambda value: is_number(value) and value > 0)
_POSITIVE_OR_NULL: _Range = (
    "a number above 0, or null",
    lambda value: value is None or (is_number(value) and value > 0),
)
_SHARE: _Range = ("a number in (0, 1]", lambda value: is_number(value) and 0 < value <= 1)
_TOP_K: _Range = ("a whole number of tokens; -1 for all", lambda value: is_whole(value, -1))
# What to give, and whether a value is that.
RANGES: Mapping[str, _Range] = {
    "seed": ("a whole number", is_whole),
    "rollout_poll_seconds": _POSITIVE,
    "no_progress_seconds": _POSITIVE,
    "wait_for_nodes_seconds": _NOT_NEGATIVE,
    "gpu_memory_gib": _POSITIVE_OR_NULL,
    "max_failed_prompts": (
        "a share of the prompts in [0, 1]",
        lambda value: is_number(value) and 0 <= value <= 1,
    ),
    "reward.num_workers": _FROM_ZERO,
    "data.dataloader_num_workers": _FROM_ZERO,
    "data.gen_batch_size": _COUNT_OR_NULL,
    "data.val_batch_size": _COUNT_OR_NULL,
    "data.train_max_samples": _ROWS,
    "data.val_max_samples": _ROWS,
    "trainer.test_freq": _WHOLE,
    f"{_MODEL}.lora_rank": ("a whole number; 0 for no adapters", _FROM_ZERO[1]),
    f"{_MODEL}.lora_alpha": ("a whole number above 0", is_count),
    "ray_kwargs.ray_init.num_cpus": _COUNT_OR_NULL,
    f"{ROLLOUT}.max_model_len": _COUNT_OR_NULL,
    f"{ROLLOUT}.temperature": (
        "a number above 0: at 0 all responses of a group are the same",
        _POSITIVE[1],
    ),
    f"{ROLLOUT}.top_p": _SHARE,
    f"{ROLLOUT}.top_k": _TOP_K,
    f"{ROLLOUT}.val_kwargs.temperature": _NOT_NEGATIVE,
    f"{ROLLOUT}.val_kwargs.top_p": _SHARE,
    f"{ROLLOUT}.val_kwargs.top_k": _TOP_K,
    f"{ROLLOUT}.gpu_memory_utilization": _SHARE,
    f"{ACTOR}.entropy_coeff": ("a number", is_number),
    f"{ACTOR}.kl_loss_coef": _NOT_NEGATIVE,
    f"{ACTOR}.optim.lr": _NOT_NEGATIVE,
    f"{ACTOR}.optim.weight_decay": _NOT_NEGATIVE,
    f"{ACTOR}.optim.clip_grad": _POSITIVE,
    f"{ACTOR}.optim.lr_warmup_steps": ("a whole number of rounds; -1 for none", is_whole),
    f"{ACTOR}.optim.lr_warmup_steps_ratio": (
        "a share of the rounds in [0, 1]",
        lambda value: is_number(value) and 0 <= value <= 1,
    ),
}
# A number or a text in verl.
_NUMBER_OR_TEXT = ("algorithm.rollout_correction.rollout_is_threshold",)


def kind_problems(config: DictConfig) -> Iterator[str]:
    """Settings of a kind that verl would trip over late, or read as something else.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    for field, what in COUNTS.items():
        value = OmegaConf.select(config, field)
        if not is_count(value):
            yield f"{field}: {value!r}; give {what}, a whole number above 0"
    for field, (what, is_right) in RANGES.items():
        value = OmegaConf.select(config, field)
        if not is_right(value):
            yield f"{field}: {value!r}; give {what}"
    yield from _texts(config)


def _texts(config: DictConfig) -> Iterator[str]:
    """A text in place of true or false is true to verl, whatever it says."""
    judged = {*COUNTS, *RANGES, *_NUMBER_OR_TEXT}
    defaults = base_values(config.device, resolve=True)
    for field, value in changed_settings(config).items():
        default = defaults.get(field)
        if field in judged or not isinstance(value, str) or "${" in value:
            continue
        if isinstance(default, bool):
            yield f"{field}: {value!r}; give true or false"
        elif is_number(default):
            yield f"{field}: {value!r}; give a number"
