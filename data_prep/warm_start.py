"""A supervised fit that gives a tiny model its format before reinforcement learning.

It knows no task: a task hands over its demonstrations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_prep import tiny_model

STAMP = "warm_start.json"

# From a number of demonstrations and a source of randomness: prompts with their answers, token ids,
# (batch_size, tokens) int64, all of one length.
Demonstrations = Callable[[int, np.random.Generator], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class WarmStartSettings:
    """Of the fit."""

    num_prompt_tokens: int
    """Of each demonstration; the rest is the answer, which alone is learnt."""
    steps: int = 1200
    """Optimiser steps."""
    batch_size: int = 64
    """Fresh demonstrations per step."""
    learning_rate: float = 4e-3
    """Peak of AdamW's learning rate; linear decay to 5 % after the warm-up."""
    warm_up_steps: int = 50
    """Steps of linear warm-up."""
    seed: int = 0
    """Of initialisation and demonstrations."""
    max_tokens: int = 64
    """Longest prompt plus response the model takes."""


def ensure_warm_start(
    folder: Path, settings: WarmStartSettings, demonstrations: Demonstrations
) -> None:
    """Make the warm-started model in ``folder``, unless it is there from the same fit.

    Args:
        folder: of the Hugging Face checkpoint; replaced as a whole.
        settings: of the fit.
        demonstrations: a function of a module; a change of that module makes the model anew.
    """
    stamp = folder / STAMP
    digest = fit_digest(settings, demonstrations)
    if stamp.exists() and json.loads(stamp.read_text())["digest"] == digest:
        print(f"{folder}: warm-started model is up to date")
        return
    model = fit(settings, demonstrations)
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    tiny_model.save(unfinished, model)
    record = {"digest": digest, **dataclasses.asdict(settings)}
    (unfinished / STAMP).write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(f"{folder}: warm-started model written")


def fit_digest(settings: WarmStartSettings, demonstrations: Demonstrations) -> str:
    """Hash of everything the model depends on: settings, and the code of fit, model and teacher.

    Args:
        settings: of the fit.
        demonstrations: whose module counts as a whole.

    Returns:
        Hexadecimal SHA-256.
    """
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    for defined in (fit, tiny_model, demonstrations):
        source = inspect.getsourcefile(defined)
        assert source is not None, "code without a file cannot be compared"
        text += Path(source).read_text()
    return hashlib.sha256(text.encode()).hexdigest()


def fit(settings: WarmStartSettings, demonstrations: Demonstrations) -> torch.nn.Module:
    """Fit a fresh model to demonstrations.

    Args:
        settings: of the fit.
        demonstrations: gives each step's batch.

    Returns:
        The model, in evaluation mode.
    """
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    # The operations are small: threads only wait for each other, and sum in another order.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(settings.seed)
    model = tiny_model.tiny_qwen2(max_tokens=settings.max_tokens).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    # No bar where the output is no terminal.
    for _ in tqdm(range(settings.steps), desc="warm start", unit="step", disable=None):
        tokens = demonstrations(settings.batch_size, rng)
        logits = model(input_ids=tokens[:, :-1]).logits[:, settings.num_prompt_tokens - 1 :]
        targets = tokens[:, settings.num_prompt_tokens :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    torch.set_num_threads(num_threads)
    return model.eval()


def _rate(step: int, settings: WarmStartSettings) -> float:
    if step < settings.warm_up_steps:
        return (step + 1) / settings.warm_up_steps
    progress = (step - settings.warm_up_steps) / (settings.steps - settings.warm_up_steps)
    return 1.0 - 0.95 * min(progress, 1.0)
