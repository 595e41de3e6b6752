"""Problems of a benchmark from its parquet file, and their prompts as tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from holderpo.benchmarks.panels import SETS
from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, TEMPLATES, PromptTemplate

TEST_FILE = "test.parquet"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Problem:
    """One row."""

    set: str
    """Benchmark."""
    index: int
    """Number within the set."""
    messages: Sequence[Mapping[str, str]]
    """Of the prompt."""
    gold: tuple[str, ...]
    """Right answers; any one will do."""
    template: PromptTemplate
    """Of the prompt."""
    gold_suspect: bool
    """Whether the gold is known to answer another question."""


@dataclass(frozen=True)
class Benchmark:
    """A prepared set."""

    name: str
    """Of the set."""
    path: Path
    """Of its file."""
    sha256: str
    """Of the file."""
    problems: tuple[Problem, ...]
    """All rows, in order."""
    same_as_reference: bool | None = None
    """Whether the rows are the paper's, by the manifest; None if it does not say."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Names of the templates of its prompts."""
        used = {problem.template for problem in self.problems}
        return tuple(name for name, template in TEMPLATES.items() if template in used)

    @property
    def suspects(self) -> frozenset[int]:
        """Problems with a suspect gold."""
        return frozenset(problem.index for problem in self.problems if problem.gold_suspect)


def read_benchmark(data: Path, name: str) -> Benchmark:
    """Read a set.

    Args:
        data: folder of the sets.
        name: of the set, one of :data:`holderpo.benchmarks.panels.SETS`.

    Returns:
        Its problems.

    Raises:
        ValueError: if the file is missing or is no prepared set, naming the fix.
    """
    path = data / name / TEST_FILE
    fix = f"prepare it: python -m data_prep.{name} --folder {path.parent}"
    assert name in SETS
    if not path.is_file():
        raise ValueError(f"{path}: not there; {fix}")
    content = path.read_bytes()
    try:
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: no parquet file ({error}); {fix}") from error
    problems = []
    for number, row in enumerate(rows):
        try:
            problems.append(_problem(name, row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, row {number}: not of this set ({error}); {fix}") from error
    indices = {problem.index for problem in problems}
    if not problems or len(indices) < len(problems):
        what = "two rows have one index" if problems else "no rows"
        raise ValueError(f"{path}: {what}; {fix}")
    sha256 = hashlib.sha256(content).hexdigest()
    return Benchmark(name, path, sha256, tuple(problems), _same_as_reference(path, sha256))


def _same_as_reference(path: Path, sha256: str) -> bool | None:
    """What the manifest says of this very file."""
    try:
        entries = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))["files"]
        return next(
            (each["same_as_reference"] for each in entries if each["sha256"] == sha256), None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _problem(name: str, row: Mapping[str, Any]) -> Problem:
    if row["data_source"] != name:
        raise ValueError(f"data_source is {row['data_source']!r}")
    extra = row["extra_info"]
    gold = row["reward_model"]["ground_truth"]
    template = extra.get("template") or "chat"
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is unknown")
    return Problem(
        set=name,
        index=int(extra["index"]),
        messages=row["prompt"],
        gold=(gold,) if isinstance(gold, str) else tuple(gold),
        template=TEMPLATES[template],
        gold_suspect=bool(extra.get("gold_suspect")),
    )


def prompt_tokens(tokenizer: Any, problem: Problem) -> list[int]:
    """The prompt as training makes it: in the model's chat template, or as it is.

    Args:
        tokenizer: of the model, from transformers.
        problem: whose prompt.

    Returns:
        Token numbers.
    """
    chat_template = RAW_CHAT_TEMPLATE if problem.template.complete else None
    text = tokenizer.apply_chat_template(
        list(problem.messages),
        chat_template=chat_template,
        add_generation_prompt=True,
        tokenize=False,
    )
    return tokenizer.encode(text, add_special_tokens=False)
