"""The demo's task: column addition, and the careless teacher that its model is first fitted to.

A problem is six columns of two digits, lowest first; the answer is each column's sum with the
incoming carry, as two digits. The teacher whose demonstrations the model is first fitted to forgets
each outgoing carry with probability 0.4: format and digit sums come out right, carrying does not,
and learning to carry is what is left for reinforcement learning.

Problems are split by a hash of their digits, so no held-out problem can occur in the supervised or
the training data, whatever the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from data_prep.parquet import verl_row, write_manifest, write_rows
from data_prep.tiny_model import END_ID, ascii_tokenizer
from data_prep.warm_start import Batch, Teacher, WarmStartSettings, ensure_warm_start

NUM_COLUMNS = 6
FORGET_CARRY = 0.4
# Length of a prompt and of an answer in characters; the response also has its end token.
PROMPT_CHARACTERS = 3 * NUM_COLUMNS
ANSWER_CHARACTERS = 3 * NUM_COLUMNS - 1

WARM_START = WarmStartSettings()

# Of 10 hash buckets: 0 is held out, 1 and 2 are for training, the rest for the warm start.
BUCKETS = {"heldout": (0,), "train": (1, 2), "warm_start": tuple(range(3, 10))}


def draw_problems(
    split: str, count: int, rng: np.random.Generator, num_columns: int = NUM_COLUMNS
) -> np.ndarray:
    """Draw problems of one split, uniformly.

    Args:
        split: a key of ``BUCKETS``.
        count: how many.
        rng: source of randomness.
        num_columns: of each problem.

    Returns:
        (count, num_columns, 2) int64 digits, lowest column first.
    """
    wanted = np.array(BUCKETS[split])
    drawn: list[np.ndarray] = []
    num_drawn = 0
    while num_drawn < count:
        digits = rng.integers(0, 10, size=(2 * count + 64, num_columns, 2))
        kept = digits[np.isin(_bucket(digits), wanted)]
        drawn.append(kept)
        num_drawn += len(kept)
    return np.concatenate(drawn)[:count]


def _bucket(digits: np.ndarray) -> np.ndarray:
    """Hash bucket (0 to 9) of each problem: the finalizer of splitmix64 on its digits.

    Powers of 10 are taken modulo 2^64, so that only the first 64 digits decide.
    """
    flat = digits.reshape(len(digits), -1).astype(np.uint64)
    powers = np.uint64(10) ** np.arange(flat.shape[1], dtype=np.uint64)
    key = (flat * powers).sum(-1, dtype=np.uint64)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((key ^ (key >> np.uint64(31))) % np.uint64(10)).astype(np.int64)


def add_columns(
    digits: np.ndarray, *, forget_carry: float = 0.0, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Sum each column with the carry of the one before.

    Args:
        digits: (N, columns, 2).
        forget_carry: probability of losing an outgoing carry.
        rng: needed where ``forget_carry`` is above 0.

    Returns:
        (N, columns) int64 sums, 0 to 19.
    """
    sums = np.zeros(digits.shape[:2], dtype=np.int64)
    carry = np.zeros(len(digits), dtype=np.int64)
    for column in range(digits.shape[1]):
        sums[:, column] = digits[:, column].sum(-1) + carry
        carry = sums[:, column] // 10
        if forget_carry > 0:
            assert rng is not None, "a careless teacher needs randomness"
            carry = carry * (rng.random(len(digits)) >= forget_carry)
    return sums


def prompt_text(digits: np.ndarray) -> str:
    """``79 48 35 12 60 05=`` for one problem (columns, 2)."""
    return " ".join(f"{a}{b}" for a, b in digits) + "="


def answer_text(sums: np.ndarray) -> str:
    """``16 13 09 03 06 05`` for one answer (columns,)."""
    return " ".join(f"{value:02d}" for value in sums)


def teacher() -> Teacher:
    """The careless teacher, who writes one token per character."""
    return Teacher(ascii_tokenizer(), demonstrations)


def demonstrations(
    batch_size: int,
    rng: np.random.Generator,
    num_columns: int = NUM_COLUMNS,
    forget_carry: float = FORGET_CARRY,
) -> Batch:
    """Problems of the warm start with the careless teacher's answers.

    Args:
        batch_size: how many.
        rng: source of randomness.
        num_columns: of each problem.
        forget_carry: probability of losing an outgoing carry.

    Returns:
        Prompt, answer and end token of each.
    """
    digits = draw_problems("warm_start", batch_size, rng, num_columns)
    sums = add_columns(digits, forget_carry=forget_carry, rng=rng)
    prompts, answers = tokens_of(digits, sums)
    tokens = torch.cat([prompts, answers], 1)
    is_answer = torch.zeros_like(tokens, dtype=torch.bool)
    is_answer[:, prompts.shape[1] :] = True
    return Batch(tokens, is_answer)


def tokens_of(digits: np.ndarray, sums: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Problems and answers as token numbers, one for each character.

    Args:
        digits: (N, columns, 2).
        sums: (N, columns).

    Returns:
        (N, 3 columns) int64 prompts and (N, 3 columns) int64 answers with their end tokens.
    """
    prompts = [list(prompt_text(problem).encode("ascii")) for problem in digits]
    answers = [[*answer_text(answer).encode("ascii"), END_ID] for answer in sums]
    return torch.tensor(prompts), torch.tensor(answers)


def write_data(folder: Path, *, seed: int, num_train: int, num_heldout: int) -> None:
    """Write ``train.parquet``, ``heldout.parquet`` and the manifest.

    Args:
        folder: where to.
        seed: of the task generator.
        num_train: rows to train on.
        num_heldout: rows to evaluate on.
    """
    rng = np.random.default_rng(seed)
    entries = []
    for split, count in (("train", num_train), ("heldout", num_heldout)):
        digits = draw_problems(split, count, rng)
        rows = [
            verl_row(
                data_source="column_addition",
                prompt=prompt_text(problem),
                answer=answer_text(sums),
                split=split,
                index=index,
            )
            for index, (problem, sums) in enumerate(zip(digits, add_columns(digits), strict=True))
        ]
        entries.append(write_rows(folder / f"{split}.parquet", rows))
    write_manifest(folder, entries, source="generated by data_prep.column_addition", seed=seed)


def main() -> None:
    """Write the data of one seed and make the warm-started model, unless they are there."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.column_addition", description=main.__doc__
    )
    parser.add_argument("--folder", type=Path, default=Path("data/column_addition"))
    parser.add_argument("--seed", type=int, default=0, help="of the problems (default: 0)")
    parser.add_argument("--num-train", type=int, default=4096)
    parser.add_argument("--num-heldout", type=int, default=512)
    parser.add_argument("--warm-start-steps", type=int, default=WARM_START.steps)
    arguments = parser.parse_args()

    folder = arguments.folder / f"seed_{arguments.seed}"
    write_data(
        folder,
        seed=arguments.seed,
        num_train=arguments.num_train,
        num_heldout=arguments.num_heldout,
    )
    print(f"{folder}: {arguments.num_train} training and {arguments.num_heldout} held-out problems")
    settings = dataclasses.replace(WARM_START, steps=arguments.warm_start_steps)
    ensure_warm_start(arguments.folder / "model", settings, teacher)


if __name__ == "__main__":
    main()
