"""GSM8K as verl parquet, from a local JSONL file or from the public hub."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.parquet import verl_row, write_manifest, write_rows
from data_prep.tiny_model import save, tiny_qwen2

HUB_ID = "openai/gsm8k"
HUB_CONFIG = "main"
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


def read_jsonl(path: Path) -> Iterator[tuple[str, str]]:
    """Problems and answers of a JSONL file with ``problem`` and ``answer``, or the hub's fields.

    Args:
        path: one JSON object a line.

    Yields:
        Problem and final answer.

    Raises:
        ValueError: naming the file and the line of a broken row.
    """
    with path.open() as file:
        for number, line in enumerate(file, start=1):
            try:
                yield problem_and_answer(json.loads(line))
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: not a row with 'problem' and 'answer' ({error!r})"
                ) from error


def problem_and_answer(row: dict[str, Any]) -> tuple[str, str]:
    """The problem and the final answer: what follows ``####``, without thousands commas."""
    problem = row["problem"] if "problem" in row else row["question"]
    return str(problem), str(row["answer"]).rpartition("####")[2].strip().replace(",", "")


def read_hub(split: str) -> Iterator[tuple[str, str]]:
    """Problems and answers of the public hub's ``train`` or ``test`` split (needs the internet)."""
    from datasets import load_dataset

    for row in load_dataset(HUB_ID, HUB_CONFIG, split=split):
        yield problem_and_answer(row)


def main() -> None:
    """Write GSM8K's train and test rows, and a tiny random model to try them with."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/gsm8k"))
    parser.add_argument("--train", type=Path, help="JSONL instead of the hub's train split")
    parser.add_argument("--test", type=Path, help="JSONL instead of the hub's test split")
    parser.add_argument("--max-rows", type=int, help="take only the first rows of each")
    arguments = parser.parse_args()

    entries = []
    for split, hub_split, path in (
        ("train", "train", arguments.train),
        ("heldout", "test", arguments.test),
    ):
        pairs = list(read_jsonl(path) if path else read_hub(hub_split))[: arguments.max_rows]
        rows = [
            verl_row(
                data_source="gsm8k",
                prompt=f"{problem}\n{INSTRUCTION}",
                answer=answer,
                split=split,
                index=index,
            )
            for index, (problem, answer) in enumerate(pairs)
        ]
        source = str(path) if path else f"hub:{HUB_ID}/{HUB_CONFIG}/{hub_split}"
        entries.append({**write_rows(arguments.folder / f"{split}.parquet", rows), "from": source})
        print(f"{arguments.folder / f'{split}.parquet'}: {len(rows)} rows from {source}")
    write_manifest(arguments.folder, entries, source="GSM8K", licence="MIT")
    save(arguments.folder / "tiny_model", tiny_qwen2(max_tokens=2048))


if __name__ == "__main__":
    main()
