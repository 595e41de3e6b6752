"""verl's merger for a checkpoint with adapters: the weights that were trained.

    python -m recipe.holderpo.lora_merger <actor folder> <out> [--adapter]

verl 0.9.1's own writes the weights beneath the adapters, which were never trained, and the adapters
beside them. Here each weight W with adapters A and B becomes ``W + alpha / r B A`` in float32, and
is rounded to bfloat16 once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

from recipe.holderpo.export import HUGGINGFACE, LORA_META, UNMERGED

_PREFIX = "base_model.model."
_BENEATH, _A, _B = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


def scale_of(actor: Path) -> float:
    """What the product of the adapters is multiplied with, alpha / r.

    Args:
        actor: folder of a checkpoint with adapters.

    Returns:
        The factor.

    Raises:
        ValueError: if verl's note lacks one of the two: the model cannot be told without.
    """
    path = actor / LORA_META
    try:
        meta = json.loads(path.read_text())
        alpha, rank = float(meta["lora_alpha"]), int(meta["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no lora_alpha and r ({error!r}); name another") from error
    if not (alpha > 0 and rank > 0):
        raise ValueError(
            f"{path}: lora_alpha {alpha:g}, r {rank}; both are above 0 in a trained one"
        )
    return alpha / rank


def merge_adapters(weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights of the model by its own names, adapters added.

    Args:
        weights: by PEFT's names, float32.
        scale: of :func:`scale_of`.

    Returns:
        bfloat16.

    Raises:
        ValueError: if the weights beneath the adapters are not there.
    """
    if all(".lora_" in name for name in weights):
        raise ValueError("the checkpoint has its adapters alone (save_lora_only): take --adapter")
    merged = {}
    for name, weight in weights.items():
        if ".lora_" in name:
            continue
        own_name = name.removeprefix(_PREFIX).replace(_BENEATH, ".")
        if _BENEATH in name and name.endswith(".weight"):
            module = name.removesuffix(_BENEATH + "weight")
            product = weights[module + _B].float() @ weights[module + _A].float()
            weight = weight.float() + scale * product
        merged[own_name] = weight.bfloat16()
    return merged


class LoraMerger(FSDPModelMerger):
    """verl's, with the adapters merged between reading the shards and writing the model."""

    scale: float

    def _load_and_merge_state_dicts(self, *arguments: Any) -> dict[str, Tensor]:
        # It rounds every shard to bfloat16 as it is read; the sum needs their float32.
        with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.float):
            weights = super()._load_and_merge_state_dicts(*arguments)
        return merge_adapters(weights, self.scale)


def main() -> int:
    """Write the merged model, or the adapter alone."""
    parser = argparse.ArgumentParser(description="A checkpoint with adapters as a folder.")
    parser.add_argument("actor", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--adapter", action="store_true", help="the adapter alone, as PEFT reads it"
    )
    arguments = parser.parse_args()
    try:
        scale = scale_of(arguments.actor)
    except ValueError as error:
        print(f"lora_merger: {error}", file=sys.stderr)
        return 2
    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(arguments.actor),
        hf_model_config_path=str(arguments.actor / HUGGINGFACE),
        target_dir=str(arguments.out),
    )
    if not arguments.adapter:
        merger = LoraMerger(config)
        merger.scale = scale
        try:
            merger.merge_and_save()
        except ValueError as error:
            print(f"lora_merger: {error}", file=sys.stderr)
            return 2
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as whole:
        config.target_dir = whole
        FSDPModelMerger(config).merge_and_save()
        shutil.copytree(Path(whole) / UNMERGED, arguments.out, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
