"""``python -m recipe.holderpo.report RUN``: a run's summary and picture, made anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from holderpo.studies.diagrams import ENDINGS
from recipe.holderpo.run.summary import write_summary


def main(command_line: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        command_line: without the program's name; the process's own by default.

    Returns:
        The exit status: 0, or 2 where there is nothing to report.
    """
    parser = argparse.ArgumentParser(
        prog="python -m recipe.holderpo.report",
        description="Write report.png of a run anew, and summary.json if it is finished.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--picture",
        type=Path,
        action="append",
        default=[],
        help="a further file for the picture, .svg or .png; may be given again",
    )
    options = parser.parse_args(command_line)
    for path in options.picture:
        if path.suffix not in ENDINGS:
            parser.error(f"--picture: {path}; give a file ending in {' or '.join(ENDINGS)}")
    try:
        print("\n".join(write_summary(options.run, pictures=options.picture)))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
