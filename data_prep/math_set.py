"""What a set of mathematics problems is, and how its published rows are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.files import LocatedRow
from holderpo.grading.answer_text import clean_gold

Row = Mapping[str, Any]

# Where the paper's code takes its data from: Dr. GRPO's repository.
ORIGIN = "sail-sg/understand-r1-zero"
ORIGIN_COMMIT = "dfca49dd460ee7cc8e4a5a162c876a7fd6993b87"

# DAPO's instruction around its problems.
_DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
_DAPO_AFTER = 'Remember to put your answer on its own line after "Answer:".'


@dataclass(frozen=True)
class Hub:
    """A data set of the public hub."""

    id: str
    """Owner and name."""
    split: str
    """The hub's own name of the split."""
    config: str | None = None
    """Configuration, where there are several."""
    revision: str | None = None
    """Commit; None is the newest, and the manifest says which that was."""
    checked: bool = False
    """Whether its rows have been compared with the reference."""


@dataclass(frozen=True)
class Repository:
    """A folder of a public GitHub repository, to be cloned and given as ``--source``."""

    id: str
    """Owner and name."""
    path: str
    """Folder within the repository."""
    revision: str
    """Commit."""
    checked: bool
    """Whether its rows have been compared with the reference."""


def published_answer(row: Row) -> Any:
    """The answer field of a row, under the names in use."""
    return first_field(row, ("answer", "final_answer"))


@dataclass(frozen=True)
class MathSet:
    """One data set: where it is published, and what is known about it."""

    name: str
    """Of the folder and in ``data_source``."""
    split: str
    """``train`` or ``test``: which file is written."""
    expected_rows: int | None
    """Number of published rows; None where copies differ."""
    hub: Hub | None = None
    """Where ``--source`` is not given; None needs one."""
    repository: Repository | None = None
    """Another place that has it."""
    licence: str | None = None
    """As the publisher states it; None where nothing is stated or known."""
    file_names: tuple[str, ...] = ()
    """What its file or folder may be called, besides ``name``."""
    read_answer: Callable[[Row], Any] = published_answer
    """Takes the gold answer, or several, from a row."""
    fingerprint: str | None = None
    """:func:`fingerprint` of the reference: the paper's rows, for GSM8K the published ones."""
    suspect: frozenset[str] = frozenset()
    """:func:`text_key` of the problems whose published gold is known to be wrong."""
    template: str = "qwen_math"
    """Prompt template where none is chosen; the paper trains and evaluates with ``qwen_math``."""


@dataclass(frozen=True)
class Problem:
    """One problem with its gold answers."""

    row: int
    """Number within the source, from 0."""
    text: str
    """As published."""
    golds: tuple[str, ...]
    """Cleaned; any of them is right. Empty where the source has none."""
    gold_suspect: bool = False
    """Whether the published gold is known to be wrong."""


def first_field(row: Row, names: tuple[str, ...]) -> Any:
    """The first of the named fields that a row has.

    Raises:
        KeyError: where it has none of them.
    """
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"no field {' or '.join(map(repr, names))}; its fields are {sorted(row)}")


def question_text(row: Row) -> str:
    """The problem of a row.

    Args:
        row: with ``problem`` or ``question``, or ``prompt`` (a text, or messages of which the
            user's last counts); of a file prepared here the question without its template, and of
            DAPO's files without the instruction around it.

    Returns:
        The text without blanks around it.

    Raises:
        KeyError: without such a field.
        TypeError: where it holds no text.
    """
    prepared = row.get("extra_info")
    if isinstance(prepared, Mapping) and prepared.get("question"):
        return str(prepared["question"])
    value = first_field(row, ("problem", "question", "prompt"))
    if isinstance(value, list) and all(isinstance(message, Mapping) for message in value):
        asked = [message.get("content") for message in value if message.get("role") == "user"]
        value = asked[-1] if asked else None
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"the problem is {value!r}, no text")
    return value.strip().removeprefix(_DAPO_BEFORE).removesuffix(_DAPO_AFTER).strip()


def read_problems(rows: Iterable[LocatedRow], math_set: MathSet) -> list[Problem]:
    """Read the problems of a set.

    Args:
        rows: published rows, each with where it stands.
        math_set: whose they are.

    Returns:
        The problems, numbered from 0.

    Raises:
        ValueError: naming the place of a row without problem or answer, and its fields.
    """
    problems = []
    for number, (where, row) in enumerate(rows):
        try:
            text = question_text(row)
            golds = tuple(clean_gold(_finite(math_set.read_answer(row))))
            _check_characters(text, *golds)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error.args[0]}") from error
        suspect = text_key(text) in math_set.suspect
        problems.append(Problem(number, text, golds, suspect))
    return problems


def _finite(answer: Any) -> Any:
    """The answer, which as a number that is none is a missing one (so pandas writes them)."""
    if isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"answer: {answer!r}; give a text, a number, or a list of them")
    return answer


def _check_characters(*texts: str) -> None:
    """JSON can hold half a character, which no file in UTF-8 can."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{text[:60]!r}: {error.reason}; correct the text") from error


def text_key(text: str) -> str:
    """Short hash of a problem's text without its white space."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()[:12]


def fingerprint(problems: Iterable[Problem]) -> str:
    """Hash of problems and gold answers, whatever their order and white space.

    Args:
        problems: of one set.

    Returns:
        16 hexadecimal digits.
    """
    lines = sorted(
        json.dumps([text_key(problem.text), sorted(map(_plain, problem.golds))])
        for problem in problems
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _plain(gold: str) -> str:
    gold = "".join(gold.split())
    return str(int(gold)) if gold.isascii() and gold.isdecimal() else gold
