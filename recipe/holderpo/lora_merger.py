"""verl's merger for a checkpoint with adapters: the weights that were trained.

    python -m recipe.holderpo.lora_merger <actor folder> <out> [--base <model>] [--adapter]

verl 0.9.1's own writes the weights beneath the adapters, which were never trained, and the adapters
beside them, rounded. Here each weight W with adapters A and B becomes ``W + alpha / r B A`` in
float32, and is rounded to bfloat16 once; adapters alone stay as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

from recipe.holderpo.export import ADAPTER_WEIGHTS, HUGGINGFACE, LORA_META

_PREFIX = "base_model.model."
_BENEATH = ".base_layer."
# Of PEFT's names those that verl's adapters have; all others are of kinds that it does not make.
_ADAPTER = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.default\.weight")
_OF_PEFT = ("lora_", "modules_to_save", "original_module")


@dataclass(frozen=True)
class Scale:
    """What verl notes of adapters."""

    alpha: int
    """The product of the two matrices is multiplied with alpha / rank."""
    rank: int
    """Columns of B, rows of A."""


def scale_of(actor: Path) -> Scale:
    """Read verl's note.

    Args:
        actor: folder of a checkpoint with adapters.

    Returns:
        What it says.

    Raises:
        ValueError: if it lacks one of the two: the model cannot be told without.
    """
    path = actor / LORA_META
    try:
        meta = json.loads(path.read_text())
        scale = Scale(meta["lora_alpha"], meta["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no lora_alpha and r ({error!r}); name another") from error
    if not all(type(number) is int and number > 0 for number in (scale.alpha, scale.rank)):
        raise ValueError(
            f"{path}: lora_alpha {scale.alpha!r}, r {scale.rank!r}; both are whole numbers above "
            "0 in a trained one"
        )
    return scale


@dataclass(frozen=True)
class Parts:
    """A checkpoint's weights, by the model's own names."""

    beneath: dict[str, Tensor]
    """The model's weights without adapters."""
    adapters: dict[str, dict[str, Tensor]]
    """A and B of each module."""


def take_apart(weights: Mapping[str, Tensor], rank: int) -> Parts:
    """Tell weights and adapters by PEFT's names.

    Args:
        weights: of a checkpoint.
        rank: of the adapters.

    Returns:
        Both.

    Raises:
        ValueError: if there are no adapters, or others than verl's pairs of matrices: what they
            add would be lost.
    """
    parts = Parts({}, {})
    for name, weight in sorted(weights.items()):
        if match := _ADAPTER.fullmatch(name):
            parts.adapters.setdefault(match[1], {})[match[2]] = weight
        elif any(word in name for word in _OF_PEFT):
            raise ValueError(f"{name}: no adapter that verl makes; export it with PEFT")
        else:
            parts.beneath[name.removeprefix(_PREFIX).replace(_BENEATH, ".")] = weight
    if not parts.adapters:
        raise ValueError(f"the checkpoint has {LORA_META}, but no adapters; name another")
    for module, pair in parts.adapters.items():
        if pair.keys() != {"A", "B"}:
            raise ValueError(f"{module}: has one of two adapters ({', '.join(pair)})")
        if {pair["A"].shape[0], pair["B"].shape[1]} != {rank}:
            raise ValueError(f"{module}: {LORA_META} has r {rank}, not that of its adapters")
    return parts


def merge_adapters(parts: Parts, scale: Scale) -> dict[str, Tensor]:
    """The weights of the model, adapters added.

    Args:
        parts: in the precision of the training.
        scale: of :func:`scale_of`.

    Returns:
        bfloat16.

    Raises:
        ValueError: if a weight beneath an adapter is not there.
    """
    merged = dict(parts.beneath)
    for module, pair in parts.adapters.items():
        name = f"{module}.weight"
        if name not in merged:
            raise ValueError(f"{name}: not in the model beneath the adapters")
        product = pair["B"].float() @ pair["A"].float()
        merged[name] = merged[name].float() + scale.alpha / scale.rank * product
    return {name: weight.bfloat16() for name, weight in merged.items()}


def write_adapters(parts: Parts, scale: Scale, folder: Path, base: str | None) -> None:
    """Write adapters as PEFT reads them, none of their digits lost.

    Args:
        parts: of :func:`take_apart`.
        scale: of :func:`scale_of`.
        folder: made if needed.
        base: name or folder of the model beneath.
    """
    from peft import LoraConfig

    folder.mkdir(parents=True, exist_ok=True)
    last = {module.rpartition(".")[2] for module in parts.adapters}
    others = {name.removesuffix(".weight") for name in parts.beneath} - parts.adapters.keys()
    # PEFT takes the last part of a name for all modules that end so.
    is_short = parts.beneath and not last & {name.rpartition(".")[2] for name in others}
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=scale.rank,
        lora_alpha=scale.alpha,
        target_modules=sorted(last if is_short else parts.adapters),
        base_model_name_or_path=base,
        inference_mode=True,
    )
    settings.save_pretrained(str(folder))
    weights = {
        f"{_PREFIX}{module}.lora_{side}.weight": weight.contiguous()
        for module, pair in parts.adapters.items()
        for side, weight in pair.items()
    }
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


class _Unrounded(TorchFunctionMode):
    """Keep float32 where ``bfloat16()`` is called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keeps = func is torch.Tensor.bfloat16
        return (torch.Tensor.float if keeps else func)(*args, **(kwargs or {}))


class LoraMerger(FSDPModelMerger):
    """verl's, with something else written: the merged model, or its adapters."""

    scale: Scale
    base: str | None
    adapter: bool

    def _load_and_merge_state_dicts(self, *arguments: Any) -> dict[str, Tensor]:
        # It rounds every shard to bfloat16 as it is read; the sum needs their float32.
        with _Unrounded():
            weights: dict[str, Tensor] = super()._load_and_merge_state_dicts(*arguments)
        return weights

    def save_hf_model_and_tokenizer(self, state_dict: dict[str, Tensor]) -> None:
        """Write what is asked for, of the checkpoint's weights."""
        parts = take_apart(state_dict, self.scale.rank)
        if self.adapter:
            write_adapters(parts, self.scale, Path(self.config.target_dir), self.base)
            return
        if not parts.beneath:
            parts = Parts(self._weights_of_base(), parts.adapters)
        super().save_hf_model_and_tokenizer(merge_adapters(parts, self.scale))

    def _weights_of_base(self) -> dict[str, Tensor]:
        """Of the model that the training began with, where it saves adapters alone."""
        try:
            model = self.get_transformers_auto_model_class().from_pretrained(
                self.base or "", dtype=torch.float32, local_files_only=True
            )
        except OSError as error:
            raise ValueError(
                "the checkpoint has its adapters alone (save_lora_only), and the model beneath "
                f"them, {self.base}, is not on this machine: export with --adapter"
            ) from error
        weights: dict[str, Tensor] = model.state_dict()
        return weights


def main() -> int:
    """Write the merged model, or the adapter alone; returns 0, or 2 with a line of why not."""
    parser = argparse.ArgumentParser(description="A checkpoint with adapters as a folder.")
    parser.add_argument("actor", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", help="the model that was trained")
    parser.add_argument(
        "--adapter", action="store_true", help="the adapter alone, as PEFT reads it"
    )
    arguments = parser.parse_args()
    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(arguments.actor),
        hf_model_config_path=str(arguments.actor / HUGGINGFACE),
        target_dir=str(arguments.out),
    )
    try:
        scale = scale_of(arguments.actor)
        merger = LoraMerger(config)
        merger.scale, merger.base, merger.adapter = scale, arguments.base, arguments.adapter
        merger.merge_and_save()
    except ValueError as error:
        print(f"lora_merger: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
