"""Settings that would ruin a run without a word: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.defaults import leaves
from recipe.holderpo.checks.kinds import ACTOR, ROLLOUT

MODEL = "actor_rollout_ref.model"


@dataclass(frozen=True)
class Ruinous:
    """One setting and the values of it that are refused."""

    field: str
    """A setting of verl, which its configuration has."""
    is_refused: Callable[[Any, DictConfig], bool]
    """Of its value and the whole configuration."""
    fix: str
    """Why, and what to give."""


def _is_set(value: Any, config: DictConfig) -> bool:
    return bool(value)


def _is_not(*allowed: Any) -> Callable[[Any, DictConfig], bool]:
    return lambda value, config: value not in allowed


def _differs_from(field: str) -> Callable[[Any, DictConfig], bool]:
    return lambda value, config: bool(value != OmegaConf.select(config, field))


RUINOUS = (
    Ruinous(
        f"{MODEL}.lora.rank",
        _is_set,
        f"it is Megatron's, and changes vLLM alone: set {MODEL}.lora_rank",
    ),
    Ruinous(
        f"{MODEL}.lora_adapter_path",
        _is_set,
        "a run does not go on from an adapter: merge it into the model, and give null",
    ),
    Ruinous(
        "model_engine",
        _is_not("dp"),
        "this recipe trains with FSDP, give 'dp'",
    ),
    Ruinous(
        f"{ACTOR}.strategy",
        _is_not("fsdp", "fsdp2"),
        "this recipe trains with FSDP, give 'fsdp2'",
    ),
    Ruinous(f"{ACTOR}.fsdp_config.forward_only", _is_set, "nothing could be trained, give false"),
    Ruinous(
        f"{ACTOR}.checkpoint.async_save",
        _is_set,
        "verl's FSDP engine saves at once, and would not note where to resume: give false",
    ),
    Ruinous(
        f"{ACTOR}.optim.warmup_style",
        lambda value, config: (
            value not in (None, config.actor_rollout_ref.actor.optim.lr_scheduler_type)
        ),
        f"verl takes it in place of lr_scheduler_type, give null and set {ACTOR}."
        "optim.lr_scheduler_type",
    ),
    Ruinous(
        f"{ACTOR}.optim.lr_scheduler_type",
        _is_not("constant", "cosine"),
        "give 'constant' or 'cosine'",
    ),
    Ruinous(f"{ROLLOUT}.mode", _is_not("async"), "verl 0.9.1 has no other, give 'async'"),
    Ruinous(
        f"{ROLLOUT}.log_prob_use_dynamic_bsz",
        _differs_from(f"{ACTOR}.use_dynamic_bsz"),
        f"verl needs the same as {ACTOR}.use_dynamic_bsz, leave it out",
    ),
    Ruinous(
        f"{ROLLOUT}.n_gpus_per_node",
        _differs_from("trainer.n_gpus_per_node"),
        "training and rollouts share the devices, leave it out and set trainer.n_gpus_per_node",
    ),
    Ruinous(
        "trainer.critic_warmup",
        _is_set,
        "there is no critic, and the first rounds would not train the actor: give 0",
    ),
    Ruinous("critic.enable", _is_set, "no advantage here reads a critic, give null"),
)
# verl's old names of sections, and where they are now; its own entry point moves them there.
OLD_SECTIONS = {
    "custom_reward_function": "reward.custom_reward_function",
    "reward_model": "reward.reward_model",
    "sandbox_fusion": "reward.sandbox_fusion",
}
# Of the old reward_model, what has another name.
_RENAMED = {
    "reward_model.num_workers": "reward.num_workers",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.module.name",
    "reward_model.model.path": "reward.reward_model.model_path",
}


def ruinous_problems(config: DictConfig) -> Iterator[str]:
    """Values that the table refuses.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    for row in RUINOUS:
        value = OmegaConf.select(config, row.field)
        if row.is_refused(value, config):
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            yield f"{row.field}: {shown}; {row.fix}"
    for old, new in OLD_SECTIONS.items():
        section = OmegaConf.to_container(config.get(old) or OmegaConf.create({}), resolve=True)
        for name, value in leaves(section):
            field = f"{old}.{name}"
            if value is not None:
                now = _RENAMED.get(field, f"{new}.{name}")
                yield f"{field}: {value!r}; not read, set {now}"
