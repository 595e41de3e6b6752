"""The model's sizes, from its configuration alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from holderpo.memory.sizes import ModelShape
from recipe.holderpo.checks.model import read_json_of
from recipe.holderpo.sections import plain


class UnknownShapeError(ValueError):
    """Why the sizes cannot be told, in a few words."""


def model_shape(config: DictConfig) -> ModelShape:
    """Build the actor's model without memory for its weights, and count.

    Args:
        config: of a run.

    Returns:
        Its sizes.

    Raises:
        UnknownShapeError: where the model's configuration is not on this machine, or needs code of
            its own, or says something else than this arithmetic knows.
    """
    model = config.actor_rollout_ref.model
    path = str(model.hf_config_path or model.path)
    # Where it is damaged a run is refused before this.
    if read_json_of(path, "config.json") is None:
        raise UnknownShapeError(f"config.json of {path} is not on this machine")
    try:
        facts, built = bare_model(config)
        return _count(facts, built, _number_of_adapters(built, model) if model.lora_rank else 0)
    except Exception as error:
        # Whatever the model's own code raises: an estimate is no reason to end a run.
        raise UnknownShapeError(
            f"{path} cannot be built from its config.json ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'})"
        ) from error


def bare_model(config: DictConfig) -> tuple[Any, Any]:
    """The actor without memory for its weights.

    Args:
        config: of a run; the model's configuration is on this machine.

    Returns:
        The model's configuration, and the model on torch's device ``meta``.
    """
    model = config.actor_rollout_ref.model
    facts = _facts(str(model.hf_config_path or model.path), model)
    return facts, _without_weights(facts)


def _facts(path: str, model: DictConfig) -> Any:
    """What transformers reads, with the user's changes as verl applies them."""
    from transformers import AutoConfig
    from verl.utils.model import update_model_config

    folder = Path(path).expanduser()
    # A model with code of its own is refused here; without a word transformers would ask.
    facts = AutoConfig.from_pretrained(
        str(folder) if folder.exists() else path, local_files_only=True, trust_remote_code=False
    )
    changes = plain(model.override_config) if model.override_config else {}
    changes = changes.get("model_config", changes)
    changes.pop("attn_implementation", None)
    update_model_config(facts, override_config_kwargs=changes)
    return facts


def _without_weights(facts: Any) -> Any:
    import torch
    from transformers.initialization import no_init_weights
    from verl.utils.model import get_hf_auto_model_class

    auto_class = get_hf_auto_model_class(facts)
    with torch.device("meta"), no_init_weights():
        # Of its implementations of attention the one that needs no other package.
        built = auto_class.from_config(facts, attn_implementation="eager", trust_remote_code=False)
    # Part of what was left out.
    built.tie_weights()
    return built


def put_adapters(built: Any, model: DictConfig) -> Any:
    """Add LoRA's adapters to a model as verl does.

    Args:
        built: of :func:`bare_model`; changed.
        model: settings of it.

    Returns:
        PEFT's model.

    Raises:
        ValueError: if the settings name nothing that can have one.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=model.lora_rank,
        lora_alpha=model.lora_alpha,
        target_modules=_plain(model.target_modules),
        target_parameters=_plain(model.get("target_parameters")),
        exclude_modules=_plain(model.exclude_modules),
    )
    with torch.device("meta"):
        return get_peft_model(built, settings)


def _number_of_adapters(built: Any, model: DictConfig) -> int:
    """Their parameters."""
    adapted = put_adapters(built, model)
    return sum(one.numel() for one in adapted.parameters() if one.requires_grad)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else plain(value)


def _count(facts: Any, built: Any, adapters: int) -> ModelShape:
    text = facts.get_text_config()
    sizes = Counter(
        (one.shape[0], one.numel() // one.shape[0])
        for one in built.parameters()
        if not adapters or not one.requires_grad
    )
    whole = sum(rows * width * count for (rows, width), count in sizes.items())
    repeated = getattr(built, "_no_split_modules", None) or ()
    layers = [one for one in built.modules() if type(one).__name__ in repeated]
    inner = sum(one.numel() for layer in layers for one in layer.parameters())
    if not layers:
        raise ValueError("it names no repeated layers")
    # Of a mixture of experts each token passes a few.
    experts = getattr(text, "num_experts_per_tok", None) or 1
    width = getattr(text, "moe_intermediate_size", None) or text.intermediate_size
    heads = text.num_attention_heads
    return ModelShape(
        parameters=whole,
        outer_parameters=whole - (inner - adapters),
        adapter_parameters=adapters,
        layers=len(layers),
        hidden=text.hidden_size,
        intermediate=experts * width,
        heads=heads,
        key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
        is_tied=bool(getattr(facts, "tie_word_embeddings", False)),
        tensors=tuple(sorted((*size, count) for size, count in sizes.items())),
        norms_queries=any(name.endswith("q_norm.weight") for name, _ in built.named_parameters()),
    )
