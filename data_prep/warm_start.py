"""A supervised fit that gives a tiny model its format before reinforcement learning.

It knows no task: a task hands over a teacher.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from data_prep import tiny_model

STAMP = "warm_start.json"


@dataclasses.dataclass(frozen=True)
class Batch:
    """Demonstrations: prompts, each with its answer, then padding."""

    tokens: torch.Tensor
    """(batch_size, tokens) int64; padded at the end with ``PAD_ID``."""
    is_answer: torch.Tensor
    """(batch_size, tokens) bool."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What a model is fitted to."""

    tokenizer: PreTrainedTokenizerBase
    demonstrations: Callable[[int, np.random.Generator], Batch]
    """From a number of demonstrations and a source of randomness."""


@dataclasses.dataclass(frozen=True)
class WarmStartSettings:
    """Of the fit, and the size of the model."""

    steps: int = 1200
    """Optimiser steps."""
    batch_size: int = 64
    """Demonstrations per step."""
    learning_rate: float = 4e-3
    """Peak of AdamW's learning rate; linear decay to 5 % after the warm-up."""
    warm_up_steps: int = 50
    """Steps of linear warm-up."""
    prompt_weight: float = 0.0
    """Of the mean loss on the prompts' tokens, which is added to that on the answers'. What repeats
    itself within prompts teaches to copy, earlier than the few tokens of the answers do."""
    seed: int = 0
    """Of initialisation and demonstrations."""
    max_tokens: int = 64
    """Longest prompt plus response the model takes."""
    hidden_size: int = 64
    """A multiple of 32; the MLP is three times as wide."""
    num_layers: int = 2
    """Of the model."""
    initializer_range: float = 0.02
    """Standard deviation of its fresh weights."""


def ensure_warm_start(
    folder: Path,
    settings: WarmStartSettings,
    teach: Callable[[], Teacher],
    made_of: Sequence[ModuleType | str] = (),
) -> None:
    """Make the warm-started model in ``folder``, unless it is there from the same fit.

    Args:
        folder: of the Hugging Face checkpoint; replaced as a whole.
        settings: of the fit.
        teach: a function of a module, called only if the model is to be made; a change of that
            module makes the model anew.
        made_of: what else the demonstrations follow from: modules, and texts such as the digest
            of their data.
    """
    stamp = folder / STAMP
    digest = fit_digest(settings, teach, made_of)
    if stamp.exists() and json.loads(stamp.read_text())["digest"] == digest:
        print(f"{folder}: warm-started model is up to date")
        return
    teacher = teach()
    model = fit(settings, teacher)
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    tiny_model.save(unfinished, model, teacher.tokenizer)
    record = {"digest": digest, **dataclasses.asdict(settings)}
    (unfinished / STAMP).write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(f"{folder}: warm-started model written")


def fit_digest(
    settings: WarmStartSettings,
    teach: Callable[[], Teacher],
    made_of: Sequence[ModuleType | str] = (),
) -> str:
    """Hash of everything the model depends on: settings, and the code of fit, model and teacher.

    Args:
        settings: of the fit.
        teach: whose module counts as a whole.
        made_of: other modules, each as a whole, and texts.

    Returns:
        Hexadecimal SHA-256.
    """
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    for part in (fit, tiny_model, teach, *made_of):
        text += "\0" + (part if isinstance(part, str) else _source(part))
    return hashlib.sha256(text.encode()).hexdigest()


def _source(defined: ModuleType | Callable[..., object]) -> str:
    source = inspect.getsourcefile(defined)
    assert source is not None, "code without a file cannot be compared"
    return Path(source).read_text()


def fit(settings: WarmStartSettings, teacher: Teacher) -> Qwen2ForCausalLM:
    """Fit a fresh model to demonstrations.

    Args:
        settings: of the fit.
        teacher: gives each step's batch.

    Returns:
        The model, in evaluation mode.
    """
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    # The operations are small: threads only wait for each other, and sum in another order.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(settings.seed)
    model = tiny_model.tiny_qwen2(
        max_tokens=settings.max_tokens,
        vocabulary_size=max(teacher.tokenizer.get_vocab().values()) + 1,
        hidden_size=settings.hidden_size,
        intermediate_size=3 * settings.hidden_size,
        num_layers=settings.num_layers,
        initializer_range=settings.initializer_range,
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    # No bar where the output is no terminal.
    for _ in tqdm(range(settings.steps), desc="warm start", unit="step", disable=None):
        batch = teacher.demonstrations(settings.batch_size, rng)
        loss = _loss(model, batch, settings.prompt_weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    torch.set_num_threads(num_threads)
    return model.eval()


def _loss(model: Qwen2ForCausalLM, batch: Batch, prompt_weight: float) -> torch.Tensor:
    """Mean over the answers' tokens; padding at the end changes nothing that comes before it."""
    logits = model(input_ids=batch.tokens[:, :-1]).logits
    targets, is_answer = batch.tokens[:, 1:], batch.is_answer[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[is_answer], targets[is_answer])
    if prompt_weight:
        is_prompt = ~is_answer & (targets != tiny_model.PAD_ID)
        on_prompts = torch.nn.functional.cross_entropy(logits[is_prompt], targets[is_prompt])
        loss = loss + prompt_weight * on_prompts
    return loss


def _rate(step: int, settings: WarmStartSettings) -> float:
    if step < settings.warm_up_steps:
        return (step + 1) / settings.warm_up_steps
    progress = (step - settings.warm_up_steps) / (settings.steps - settings.warm_up_steps)
    return 1.0 - 0.95 * min(progress, 1.0)
