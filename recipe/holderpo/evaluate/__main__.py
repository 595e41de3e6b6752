"""Evaluate a model: ``python -m recipe.holderpo.evaluate math ...`` or ``... alfworld ...``.

Each command has its own ``--help``, and loads only what it needs itself.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

PROGRAM = "python -m recipe.holderpo.evaluate"
_ROOM = "recipe.holderpo.evaluate"
COMMANDS = {
    "math": (f"{_ROOM}.math.math_command", "a model on benchmarks of mathematics"),
    "alfworld": (f"{_ROOM}.alfworld.alfworld_command", "an agent on whole panels of ALFWorld"),
}


def main(command_line: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; returns its exit status, 2 if there is none."""
    words = list(sys.argv[1:] if command_line is None else command_line)
    if words and words[0] in COMMANDS:
        module, _ = COMMANDS[words[0]]
        return int(importlib.import_module(module).main(words[1:]))
    if words and words[0] in ("-h", "--help"):
        _parser().print_help()
        return 0
    wrong = f"{words[0]!r} is no command" if words else "no command"
    # An option alone says nothing of the command; these are the benchmarks' and the games' own.
    likely = "alfworld --policy" if "--policy" in words else "math --model"
    print(
        f"evaluate: {wrong}; give {' or '.join(COMMANDS)} first, as in: evaluate {likely} ...",
        file=sys.stderr,
    )
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Evaluate a model. The same command goes on where it was cut off."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (_, about) in COMMANDS.items():
        commands.add_parser(name, help=f"{about}; see {name} --help")
    return parser


if __name__ == "__main__":
    sys.exit(main())
