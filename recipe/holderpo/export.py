"""A checkpoint of a run as a Hugging Face folder, by verl's own merger.

    python -m recipe.holderpo.export <run, checkpoints, global_step_N or actor folder> <out>
    python -m recipe.holderpo.export <the same> <out> --adapter

verl's merger writes weights in bfloat16, the precision in which a GPU run's rollouts use them. All
else is as the checkpoint keeps it: tokenizer, chat template, generation settings with all their end
tokens. Of a run with adapters (LoRA) the merged model is written (lora_merger.py), or the adapter
alone, as PEFT reads it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from holderpo.studies.run_files import CONFIG_FILE, METRICS_FILE
from recipe.holderpo.checks.checkpoints import TRACKER, checkpoints_in, read_tracker

FSDP_CONFIG = "fsdp_config.json"
# verl's note of the rank and alpha of adapters.
LORA_META = "lora_train_meta.json"
# An adapter, as PEFT reads it.
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Where verl's merger leaves adapters that it has not merged.
UNMERGED = "lora_adapter"
# Beside the shards, where verl keeps tokenizer and configuration, and the weights if
# actor.checkpoint.save_contents has hf_model.
HUGGINGFACE = "huggingface"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# Of a model how it ends and how it is spoken to.
_GENERATION, _TEMPLATE = "generation_config.json", "chat_template.jinja"


class ExportError(RuntimeError):
    """The merger failed."""


def find_actor(path: Path) -> Path | None:
    """The folder with a checkpoint's actor.

    Args:
        path: a run's folder, its ``checkpoints``, one ``global_step_N``, or the ``actor`` in it. Of
            several checkpoints the last one is taken.

    Returns:
        The ``actor`` folder; None if this is no folder of verl's.

    Raises:
        ValueError: if a run has no checkpoint that can be taken.
    """
    for actor in (path, path / "actor"):
        if (actor / FSDP_CONFIG).exists():
            return actor
    for checkpoints in (path, path / "checkpoints"):
        steps = sorted(checkpoints_in(checkpoints).values(), key=lambda step: step.name)
        tracker = checkpoints / TRACKER
        if latest := read_tracker(checkpoints):
            actor = checkpoints / f"global_step_{latest}" / "actor"
            if not (actor / FSDP_CONFIG).exists():
                raise ValueError(f"{actor}: named by {tracker}, but has no {FSDP_CONFIG}")
            return actor
        if steps:
            names = ", ".join(step.name for step in steps)
            raise ValueError(
                f"{checkpoints}: no {TRACKER} says which is the last; name one: {names}"
            )
    if (path / METRICS_FILE).exists():
        raise ValueError(f"{path}: a run without a checkpoint (trainer.save_freq); name another")
    return None


def has_weights(folder: Path) -> bool:
    """Whether a Hugging Face folder has all its weights."""
    for name in _WEIGHTS:
        if (folder / name).exists():
            return True
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = set(json.loads(index.read_text())["weight_map"].values())
            return all((folder / shard).exists() for shard in shards)
    return False


def is_exported(actor: Path) -> bool:
    """Whether the weights beside a checkpoint's tokenizer are there, and of these shards.

    Args:
        actor: folder with the shards.

    Returns:
        False also for weights older than the shards: those of a run that was here before; and for
        those that verl writes of a model with adapters, which no model has.
    """
    folder = actor / HUGGINGFACE
    if not has_weights(folder):
        return False
    weights = [file for name in _WEIGHTS for file in folder.glob(f"*{Path(name).suffix}")]
    if (actor / LORA_META).exists() and any(map(_has_adapters, weights)):
        return False
    shards = actor.glob("model_world_size_*.pt")
    newest_shard = max((shard.stat().st_mtime for shard in shards), default=0.0)
    return min(file.stat().st_mtime for file in weights) >= newest_shard


def _has_adapters(weights: Path) -> bool:
    from safetensors import safe_open

    if weights.suffix != ".safetensors":
        return False
    with safe_open(weights, "pt") as file:
        names = file.keys()
    return any(".lora_" in name for name in names)


def checkpoint_problems(actor: Path) -> list[str]:
    """What a checkpoint lacks to be exported.

    Args:
        actor: folder with the shards.

    Returns:
        A sentence for each missing file.
    """
    try:
        world_size = int(json.loads((actor / FSDP_CONFIG).read_text())["world_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{actor / FSDP_CONFIG}: broken ({error!r}); the checkpoint cannot be exported"]
    needed = [f"model_world_size_{world_size}_rank_{rank}.pt" for rank in range(world_size)]
    needed.append(f"{HUGGINGFACE}/config.json")
    problems = [
        f"{actor / name}: not there; the checkpoint is incomplete, name another"
        for name in needed
        if not (actor / name).exists()
    ]
    return problems or _lost_files(actor / HUGGINGFACE, _trained_model(actor))


def _lost_files(folder: Path, model: Path | None) -> list[str]:
    """What the model that was trained has beside its weights, and a checkpoint's folder has not."""
    if not any((folder / name).exists() for name in _TOKENIZERS):
        names = ", ".join(_TOKENIZERS)
        return [f"{folder}: no tokenizer ({names}); copy that of the model there"]
    if model is None:
        return []
    lost = []
    if (model / _GENERATION).exists() and not (folder / _GENERATION).exists():
        lost.append(_GENERATION)
    if _has_template(model) and not _has_template(folder):
        lost.append(_TEMPLATE if (model / _TEMPLATE).exists() else "tokenizer_config.json")
    return [f"{folder / name}: lost; copy it there from {model}" for name in lost]


def _has_template(folder: Path) -> bool:
    config = folder / "tokenizer_config.json"
    named = config.exists() and "chat_template" in json.loads(config.read_text())
    return named or (folder / _TEMPLATE).exists()


def _name_of_model(actor: Path) -> str | None:
    """Folder or name of the model that the run began with; None: unknown."""
    config = actor.parent.parent.parent / CONFIG_FILE
    try:
        settings: Any = yaml.safe_load(config.read_text())
        return str(settings["actor_rollout_ref"]["model"]["path"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _trained_model(actor: Path) -> Path | None:
    """Folder of that model, or in the hub's cache; None: unknown."""
    name = _name_of_model(actor)
    if name is None or Path(name).is_dir():
        return Path(name) if name else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def export(actor: Path, out: Path, *, adapter: bool = False) -> None:
    """Merge the shards into a Hugging Face folder with tokenizer; nothing is left after a failure.

    Args:
        actor: complete folder, of any number of FSDP ranks.
        out: made if needed; its other files are kept.
        adapter: of a run with adapters, write these alone, as PEFT reads them.

    Raises:
        ExportError: with the end of what the merger says.
    """
    out.mkdir(parents=True, exist_ok=True)
    # In the same file system, so that the files are moved in one go each.
    with tempfile.TemporaryDirectory(prefix=".export_", dir=out) as unfinished:
        command = [sys.executable, "-m"]
        if (actor / LORA_META).exists():
            command += ["recipe.holderpo.lora_merger", str(actor), unfinished]
            command += ["--base", name] if (name := _name_of_model(actor)) else []
            command += ["--adapter"] * adapter
        else:
            command += ["verl.model_merger", "merge", "--backend", "fsdp"]
            command += ["--local_dir", str(actor), "--target_dir", unfinished]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        written = Path(unfinished)
        is_there = (written / ADAPTER_CONFIG).exists() if adapter else has_weights(written)
        if run.returncode != 0 or not is_there:
            lines = run.stdout.splitlines()
            if known := [line for line in lines if line.startswith("lora_merger: ")]:
                raise ExportError(f"{actor}: {known[-1].partition(': ')[2]}")
            said = "\n".join(lines[-15:])
            raise ExportError(f"{actor}: {command[2]} failed, status {run.returncode}\n{said}")
        if (written / UNMERGED).exists():
            raise ExportError(
                f"{actor}: has adapters, and no {LORA_META} with their alpha; name another"
            )
        for file in () if adapter else _beside_weights(actor / HUGGINGFACE):
            shutil.copy2(file, written / file.name)
        # An index comes last: with it the weights are complete.
        files = sorted(written.iterdir(), key=lambda file: ".index." in file.name)
        for file in files:
            if file.is_dir():
                shutil.rmtree(out / file.name, ignore_errors=True)
            os.replace(file, out / file.name)


def _beside_weights(folder: Path) -> list[Path]:
    """Files of a checkpoint that are right as they are; the merger's config.json names bfloat16."""
    weights = tuple(Path(name).suffix for name in _WEIGHTS)
    return [
        file
        for file in sorted(folder.glob("*"))
        if file.is_file()
        and file.name != "config.json"
        and not file.name.endswith((*weights, ".index.json"))
    ]


def main(command_line: Sequence[str] | None = None) -> int:
    """Export; returns 0, 1 if the merger fails, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m recipe.holderpo.export",
        description="Write a checkpoint as a Hugging Face folder, by verl's own merger (bfloat16).",
    )
    parser.add_argument("checkpoint", type=Path, help="run, checkpoints, global_step_N or actor")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "--adapter", action="store_true", help="the adapter alone, as PEFT reads it"
    )
    arguments = parser.parse_args(command_line)
    try:
        actor = find_actor(arguments.checkpoint)
        if actor is None:
            raise ValueError(f"{arguments.checkpoint}: no run or checkpoint of verl's FSDP actor")
        if has_weights(arguments.out):
            raise ValueError(f"{arguments.out}: has a model already; give another folder")
        if problems := checkpoint_problems(actor):
            raise ValueError("\n".join(problems))
        if arguments.adapter and not (actor / LORA_META).exists():
            raise ValueError(f"--adapter: {actor} has none; leave it out")
        if (arguments.out / ADAPTER_CONFIG).exists():
            raise ValueError(f"{arguments.out}: has an adapter already; give another folder")
        export(actor, arguments.out, adapter=arguments.adapter)
    except ValueError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out}: exported from {actor}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
