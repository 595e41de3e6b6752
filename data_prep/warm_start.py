"""The supervised fit that gives the demo's model its format before reinforcement learning."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_prep import columns
from data_prep.tiny_model import END_ID, save, tiny_qwen2

STAMP = "warm_start.json"


@dataclasses.dataclass(frozen=True)
class WarmStartSettings:
    """Everything the warm-started model depends on; its hash names the cached model."""

    steps: int = 1200
    """Optimiser steps."""
    batch_size: int = 64
    """Fresh demonstrations a step."""
    learning_rate: float = 4e-3
    """Peak of AdamW's learning rate; linear decay to 5 % after the warm-up."""
    warm_up_steps: int = 50
    """Steps of linear warm-up."""
    forget_carry: float = columns.FORGET_CARRY
    """The teacher's probability of losing a carry."""
    seed: int = 0
    """Of initialisation and demonstrations."""
    max_tokens: int = 64
    """Longest prompt plus response the model takes."""

    def digest(self) -> str:
        """Hash of the settings and of the code that uses them."""
        code = "".join(
            Path(module).read_text()
            for module in (__file__, columns.__file__, Path(__file__).with_name("tiny_model.py"))
        )
        text = json.dumps(dataclasses.asdict(self), sort_keys=True) + code
        return hashlib.sha256(text.encode()).hexdigest()


def ensure_warm_start(folder: Path, settings: WarmStartSettings) -> None:
    """Make the warm-started model in ``folder``, unless it is there with these settings.

    Args:
        folder: of the Hugging Face checkpoint; replaced as a whole.
        settings: of the fit.
    """
    stamp = folder / STAMP
    if stamp.exists() and json.loads(stamp.read_text())["digest"] == settings.digest():
        print(f"{folder}: warm-started model is up to date")
        return
    model = fit(settings)
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    save(unfinished, model)
    record = {"digest": settings.digest(), **dataclasses.asdict(settings)}
    (unfinished / STAMP).write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    print(f"{folder}: warm-started model written")


def fit(settings: WarmStartSettings) -> torch.nn.Module:
    """Fit a fresh model to the careless teacher's demonstrations."""
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(settings.seed)
    model = tiny_qwen2(max_tokens=settings.max_tokens).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    # No bar where the output is no terminal.
    for _ in tqdm(range(settings.steps), desc="warm start", unit="step", disable=None):
        tokens = demonstrations(settings, rng)
        logits = model(input_ids=tokens[:, :-1]).logits[:, columns.PROMPT_CHARACTERS - 1 :]
        targets = tokens[:, columns.PROMPT_CHARACTERS :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def demonstrations(settings: WarmStartSettings, rng: np.random.Generator) -> torch.Tensor:
    """One batch of prompts with the teacher's answers, (batch_size, tokens) int64."""
    digits = columns.draw_problems("warm_start", settings.batch_size, rng)
    sums = columns.add_columns(digits, forget_carry=settings.forget_carry, rng=rng)
    texts = [
        columns.prompt_text(problem) + columns.answer_text(answer)
        for problem, answer in zip(digits, sums, strict=True)
    ]
    return torch.tensor([[*text.encode("ascii"), END_ID] for text in texts])


def _rate(step: int, settings: WarmStartSettings) -> float:
    if step < settings.warm_up_steps:
        return (step + 1) / settings.warm_up_steps
    progress = (step - settings.warm_up_steps) / (settings.steps - settings.warm_up_steps)
    return 1.0 - 0.95 * min(progress, 1.0)
