r"""What is wrong with a set's rows: found, listed, and dropped or not.

Two texts are the same problem if nothing but markup, spacing, case and sentence marks differs;
signs and brackets count: ``z^4 - z^2 + 1`` and ``z^4 + z^2 + 1`` have different roots.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from data_prep.files import SUFFIXES, read_rows
from data_prep.math_set import Problem, question_text
from holderpo.grading import grade_many

Action = Literal["drop", "keep", "fail"]
ACTIONS: tuple[Action, ...] = ("drop", "keep", "fail")

# Kinds of findings, in the order they are looked for, with what they mean.
KINDS: Mapping[str, str] = {
    "empty": "no gold answer: no response can be rewarded",
    "duplicate": "the problem of an earlier row",
    "overlap": "the problem of a held-out set",
    "lookalike": "of a held-out problem but for signs or brackets: usually another problem",
    "unverifiable": "the gold answer, given as a response, is not graded correct",
}

_CHUNK = 256
_MARKUP = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|text|mathrm|mathbf|mbox|textbf|textit|quad|qquad)"
    r"(?![a-z])|\\[()\[\],;:!]|\\[dt]frac(?![a-z])"
)


@dataclass(frozen=True)
class Finding:
    """One row that something is wrong with."""

    kind: str
    """A key of ``KINDS``."""
    row: int
    """Number within the source, from 0."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """More, for the list."""

    def __str__(self) -> str:
        """As listed in the output."""
        more = ", ".join(f"{name} {value}" for name, value in self.details.items())
        return f"row {self.row}" + (f" ({more})" if more else "")


@dataclass(frozen=True)
class HeldOut:
    """Problems that must not be trained on."""

    name: str
    """Of the set or file."""
    rows: Mapping[str, int]
    """Normalised text to row."""
    lookalikes: Mapping[str, int]
    """Letters and digits alone to row."""
    texts: Sequence[str]
    """As published."""


def normalised(text: str) -> str:
    r"""A problem's text as it is compared.

    Args:
        text: as published.

    Returns:
        Letters, digits, operators and brackets, in lower case and without markup.
    """
    text = unicodedata.normalize("NFKC", text)
    text = _MARKUP.sub(lambda match: r"\frac" if "frac" in match[0] else " ", text).lower()
    text = re.sub(r"(?<!\d)\.|\.(?!\d)|_", "", text)
    return re.sub(r"[^\w+\-*/=<>^|%!.()\[\]]", "", text)


def read_held_out(paths: Iterable[Path]) -> list[HeldOut]:
    """Read the problems of held-out sets.

    Args:
        paths: files, prepared or as published, or folders, where every prepared ``test.parquet``
            below counts.

    Returns:
        One entry per file.

    Raises:
        ValueError: for a path without such a file, and for rows without problems.
    """
    files = []
    for path in paths:
        below = sorted(path.glob("**/test.parquet")) if path.is_dir() else [path]
        if not below or not all(file.is_file() for file in below):
            raise ValueError(
                f"held-out: {path}; give files ({', '.join(SUFFIXES)}) or a folder with prepared "
                "sets (<set>/test.parquet)"
            )
        files += below
    sets = []
    for file in dict.fromkeys(files):
        texts = []
        for where, row in read_rows(file):
            try:
                texts.append(question_text(row))
            except (KeyError, TypeError) as error:
                raise ValueError(f"held-out: {where}: {error.args[0]}") from error
        name = file.parent.name if file.stem == "test" else file.stem
        # The first row counts where a problem is there twice.
        numbered = list(reversed(list(enumerate(texts))))
        rows = {normalised(text): number for number, text in numbered}
        lookalikes = {_letters_and_digits(text): number for number, text in numbered}
        sets.append(HeldOut(name, rows, lookalikes, texts))
    return sets


def find(problems: Sequence[Problem], held_out: Sequence[HeldOut]) -> list[Finding]:
    """Check a set's problems.

    Args:
        problems: of one set.
        held_out: sets that must not share a problem with it.

    Returns:
        Findings, by kind and row; a row can have several.
    """
    return [
        *(Finding("empty", problem.row) for problem in problems if not problem.golds),
        *_duplicates(problems),
        *_overlaps(problems, held_out),
        *_unverifiable(problems),
    ]


def _duplicates(problems: Sequence[Problem]) -> Iterable[Finding]:
    first: dict[str, Problem] = {}
    for problem in problems:
        earlier = first.setdefault(normalised(problem.text), problem)
        if earlier is problem:
            continue
        details = {"of row": earlier.row, "text": _sameness(problem.text, earlier.text)}
        if set(problem.golds) != set(earlier.golds):
            details["gold"] = f"{list(problem.golds)} instead of {list(earlier.golds)}"
        yield Finding("duplicate", problem.row, details)


def _overlaps(problems: Sequence[Problem], held_out: Sequence[HeldOut]) -> Iterable[Finding]:
    for problem in problems if held_out else ():
        key, loose_key = normalised(problem.text), _letters_and_digits(problem.text)
        for other in held_out:
            name = f"with {other.name} row"
            if key in other.rows:
                row = other.rows[key]
                same = _sameness(problem.text, other.texts[row])
                yield Finding("overlap", problem.row, {name: row, "text": same})
            elif loose_key in other.lookalikes:
                yield Finding("lookalike", problem.row, {name: other.lookalikes[loose_key]})


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[\W_]", "", normalised(text))


def _sameness(text: str, other: str) -> str:
    return "exact" if text == other else "normalised"


def _unverifiable(problems: Sequence[Problem]) -> Iterable[Finding]:
    pairs = [(problem, gold) for problem in problems for gold in problem.golds]
    # The bar appears only if this takes a while, and not where the output is no terminal.
    with tqdm(
        total=len(pairs), desc="gold answers against themselves", delay=2, disable=None, leave=False
    ) as progress:
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            # One alternative is judged by itself, or another would vouch for it.
            verdicts = grade_many([(f"\\boxed{{{gold}}}", [gold]) for _, gold in chunk])
            progress.update(len(chunk))
            for (problem, gold), verdict in zip(chunk, verdicts, strict=True):
                if not verdict.score:
                    details = {"gold": gold, "verdict": str(verdict.status)}
                    yield Finding("unverifiable", problem.row, details)
