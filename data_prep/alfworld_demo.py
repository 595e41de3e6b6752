"""The household demo: tiny games, a tokenizer and a tiny model that imitates the expert a little.

Games, demonstrations and model are the same for all seeds of the training that follows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from data_prep import alfworld_demonstrations, alfworld_tokenizer
from data_prep.alfworld_demonstrations import (
    Demonstration,
    DemonstrationSettings,
    play_demonstrations,
)
from data_prep.alfworld_generator import GeneratorSettings, generate
from data_prep.alfworld_tables import read_tables
from data_prep.alfworld_tokenizer import train_tokenizer
from data_prep.command import clear_errors
from data_prep.tiny_model import END_ID, PAD_ID
from data_prep.warm_start import Batch, Teacher, WarmStartSettings, ensure_warm_start
from holderpo.alfworld.engine import missing_packages
from holderpo.alfworld.turn_prompt import TurnPromptSettings

FOLDER = Path("data/alfworld_demo")
PROMPT_FILE = Path(__file__).parents[1] / "configs" / "turn_prompt" / "tiny.yaml"
"""What the messages say, in the demonstrations and in the training that follows."""

GAMES = GeneratorSettings(size="tiny", train=60, valid_seen=30)
DEMONSTRATIONS = DemonstrationSettings()
WARM_START = WarmStartSettings(
    steps=500,
    batch_size=32,
    prompt_weight=1.0,
    max_tokens=256,
    hidden_size=128,
    num_layers=3,
    initializer_range=0.06,
)

# A batch is a slice of so many as large a draw, sorted by length: little padding is left.
_DRAW = 8


def prompt_settings() -> TurnPromptSettings:
    """What the messages say."""
    return TurnPromptSettings(**yaml.safe_load(PROMPT_FILE.read_text(encoding="utf-8")))


def prepare(
    folder: Path,
    games: GeneratorSettings = GAMES,
    demonstrations: DemonstrationSettings = DEMONSTRATIONS,
    warm_start: WarmStartSettings = WARM_START,
) -> None:
    """Make games and model, unless they are there.

    Args:
        folder: gets ``games`` and ``model``.
        games: to generate.
        demonstrations: to play in the training games.
        warm_start: fit to the demonstrations.

    Raises:
        ValueError: if other games are there, or what plays them is not installed.
    """
    if missing := missing_packages():
        raise ValueError(missing)
    manifests, _ = generate(folder / "games", games, read_tables())
    for manifest in manifests:
        print(f"{folder / 'games'}: {len(manifest.games)} games in {manifest.split}")
    train = manifests[0]

    def play() -> Teacher:
        return teacher(play_demonstrations(train, prompt_settings(), demonstrations))

    made_of = [train.digest, repr(demonstrations), PROMPT_FILE.read_text(encoding="utf-8")]
    modules = [alfworld_demonstrations, alfworld_tokenizer]
    ensure_warm_start(folder / "model", warm_start, play, [*modules, *made_of])


def teacher(demonstrations: Sequence[Demonstration]) -> Teacher:
    """Demonstrations as a model is fitted to them.

    Args:
        demonstrations: turns of training games; the tokenizer is trained on them, too.

    Returns:
        A tokenizer, and batches of turns of like length, drawn with the same chance.
    """
    tokenizer = train_tokenizer(turn.prompt + turn.response for turn in demonstrations)
    prompts = tokenizer([turn.prompt for turn in demonstrations]).input_ids
    answers = tokenizer([turn.response for turn in demonstrations]).input_ids
    lengths = np.array([len(prompt) for prompt in prompts])

    def draw(batch_size: int, rng: np.random.Generator) -> Batch:
        drawn = rng.integers(len(lengths), size=_DRAW * batch_size)
        drawn = drawn[np.argsort(lengths[drawn], kind="stable")]
        start = rng.integers(_DRAW) * batch_size
        chosen = drawn[start : start + batch_size]
        return _batch([prompts[turn] for turn in chosen], [answers[turn] for turn in chosen])

    return Teacher(tokenizer, draw)


def _batch(prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> Batch:
    longest = max(len(p) + len(a) + 1 for p, a in zip(prompts, answers, strict=True))
    tokens = torch.full((len(prompts), longest), PAD_ID)
    is_answer = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        whole = [*prompt, *answer, END_ID]
        tokens[row, : len(whole)] = torch.tensor(whole)
        is_answer[row, len(prompt) : len(whole)] = True
    return Batch(tokens, is_answer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the games and the warm-started model, unless they are there.

    Args:
        arguments: of the command line; by default the program's own.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.alfworld_demo", description="Make games and model of the demo."
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    with clear_errors():
        prepare(options.folder)


if __name__ == "__main__":
    main()
