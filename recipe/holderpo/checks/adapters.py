"""Whether adapters (LoRA) can be trained, and reach rollouts, checkpoints and the export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

from recipe.holderpo.checks.batches import has_kl
from recipe.holderpo.checks.kinds import ACTOR, ROLLOUT
from recipe.holderpo.checks.model import read_json_of
from recipe.holderpo.checks.model_shape import bare_model, put_adapters

_MODEL = "actor_rollout_ref.model"
_MERGE = f"{_MODEL}.lora.merge"
# vLLM's largest.
_LARGEST_RANK = 512
_ALL = "all-linear"


def are_sent_apart(config: DictConfig) -> bool:
    """Whether adapters go to vLLM by themselves, not merged into the weights."""
    model = config.actor_rollout_ref.model
    return bool(model.lora_rank and not model.lora.merge)


def adapter_problems(config: DictConfig) -> Iterator[str]:
    """What would end a run with adapters late, or lose some of them.

    Args:
        config: with settings of the right kinds.

    Yields:
        One line per problem: field, value, fix.
    """
    model, actor = config.actor_rollout_ref.model, config.actor_rollout_ref.actor
    if not model.lora_rank:
        return
    if are_sent_apart(config):
        yield from _sent_apart(config)
    contents = actor.checkpoint.save_contents or ()
    if "hf_model" in contents:
        yield (
            f"{ACTOR}.checkpoint.save_contents: {list(contents)!r}; with adapters verl writes "
            "hf_model under names that no model has: leave it out, and export the checkpoint"
        )
    bypasses = config.algorithm.rollout_correction.bypass_mode
    if bypasses and has_kl(config) and not actor.fsdp_config.reshard_after_forward:
        yield (
            f"{ACTOR}.fsdp_config.reshard_after_forward: false; with adapters, "
            "algorithm.rollout_correction.bypass_mode and a KL term the adapters would be trained "
            "by the first update of a round alone: give true"
        )
    if model.get("target_parameters"):
        yield (
            f"{_MODEL}.target_parameters: {list(model.target_parameters)!r}; adapters on single "
            "parameters do not reach vLLM and the export: leave it out"
        )
        return
    of_kind = list(_names(model))
    yield from of_kind
    if of_kind or read_json_of(str(model.hf_config_path or model.path), "config.json") is None:
        return
    yield from _places(config)


def _names(model: DictConfig) -> Iterator[str]:
    targets, excluded = model.target_modules, model.exclude_modules
    is_list = isinstance(targets, ListConfig) and len(targets) > 0 and all(map(_is_text, targets))
    if not (_is_text(targets) or is_list):
        yield (
            f"{_MODEL}.target_modules: {_shown(targets)}; give a list of names, a pattern of whole "
            f"names, or {_ALL}"
        )
    if not (excluded is None or _is_text(excluded)):
        # verl takes no list here.
        yield (
            f"{_MODEL}.exclude_modules: {_shown(excluded)}; give a pattern of whole names, such as "
            "'.*_proj', or null"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _sent_apart(config: DictConfig) -> Iterator[str]:
    model, rollout = config.actor_rollout_ref.model, config.actor_rollout_ref.rollout
    if model.lora_rank > _LARGEST_RANK:
        yield (
            f"{_MODEL}.lora_rank: {model.lora_rank}; vLLM takes adapters of at most "
            f"{_LARGEST_RANK}: give less, or set {_MERGE}=true"
        )
    if rollout.layered_summon and "dummy" in rollout.load_format:
        yield (
            f"{ROLLOUT}.layered_summon: true; it needs the weights under the adapters in vLLM: "
            f"set {ROLLOUT}.load_format=safetensors"
        )


def _places(config: DictConfig) -> Iterator[str]:
    """Which modules get one, of the model as it is built."""
    model = config.actor_rollout_ref.model
    try:
        _, built = bare_model(config)
    except Exception:
        # A model with code of its own, or a kind that is not known here: the plan says why.
        return
    names = [name for name, _ in built.named_modules()]
    for field in ("target_modules", "exclude_modules"):
        if unknown := _unknown(model[field], names):
            yield (
                f"{_MODEL}.{field}: {', '.join(unknown)}; no module of {model.path} is called so, "
                "give names such as q_proj, or a pattern of whole ones such as '.*_proj'"
            )
            return
    repeated = getattr(built, "_no_split_modules", None) or ()
    inside = {
        f"{name}.{inner}"
        for name, module in built.named_modules()
        if type(module).__name__ in repeated
        for inner, _ in module.named_modules()
    }
    try:
        adapted = put_adapters(built, model).get_base_model()
    except ValueError as error:
        yield (
            f"{_MODEL}.target_modules: {_shown(model.target_modules)}; {_first_line(error)}: give "
            f"names of linear layers that exclude_modules leaves, or {_ALL}"
        )
        return
    placed = [name for name, module in adapted.named_modules() if hasattr(module, "lora_A")]
    if inside and (outside := [name for name in placed if name not in inside]):
        yield (
            f"{_MODEL}.target_modules: {_shown(model.target_modules)}; adapters on "
            f"{', '.join(outside)}, outside the model's layers, do not reach vLLM and the export: "
            "leave them out"
        )


def _unknown(wanted: Any, names: list[str]) -> list[str]:
    """Of a list those, or the pattern, that no module's name fits, as PEFT compares them."""
    if wanted is None or wanted == _ALL:
        return []
    if isinstance(wanted, str):
        try:
            return [] if any(re.fullmatch(wanted, name) for name in names) else [repr(wanted)]
        except re.error:
            return [repr(wanted)]
    return [
        repr(one)
        for one in wanted
        if not any(name == one or name.endswith(f".{one}") for name in names)
    ]


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, ListConfig) else value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
