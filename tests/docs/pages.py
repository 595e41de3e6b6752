"""The pages as tests read them: links, code blocks, and the commands printed in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES]

_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# What a command begins with; anything else in a code span is a name or a value.
_COMMAND = re.compile(r"([A-Z_]+=\S+ )*(\S*python3? |scripts/\S+\.sh|make [a-z])")
# The map of the repository is no shell.
_TREE = re.compile(r"\w+/ {2}")


class Command(NamedTuple):
    """One command of a page."""

    variables: dict[str, str]
    """Set for it alone."""
    words: list[str]
    """Program and arguments."""


def text_of(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def blocks(text):
    """Language and content of each code block."""
    return _BLOCK.findall(text)


def prose(text):
    """The text without its code blocks."""
    return _BLOCK.sub("", text)


def spans(text):
    """What stands between backticks in the prose."""
    return _SPAN.findall(prose(text))


def links(text):
    """Targets of the links and pictures."""
    return _LINK.findall(prose(text))


def anchors(text):
    """The names that a link can end in, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(text):
    """Lines of the blocks without a language, continued lines joined; and commands in the prose."""
    for language, content in blocks(text):
        if not language and not _TREE.match(content):
            yield from map(str.strip, content.replace("\\\n", " ").splitlines())
    yield from (span for span in spans(text) if _COMMAND.match(span))


def command(line):
    """A line of a shell; None where it has no program, like an assignment."""
    words = shlex.split(line, comments=True)
    variables = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return Command(variables, words) if words else None
