"""Every set of mathematics in one go: evaluation sets first, then training sets without overlap."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep import (
    aime24,
    aime25,
    amc,
    amc23,
    dapo17k,
    gsm8k,
    math500,
    math_level3to5,
    minerva,
    olympiadbench,
)
from data_prep.command import (
    add_options,
    clear_errors,
    ensure_tiny_model,
    prepare_folder,
    settings_of,
)
from data_prep.math_set import MathSet

SETS: Mapping[str, MathSet] = {
    module.SET.name: module.SET
    for module in (
        aime24,
        aime25,
        amc,
        amc23,
        math500,
        minerva,
        olympiadbench,
        gsm8k,
        dapo17k,
        math_level3to5,
    )
}

# The paper's training set and the five sets of its Table 2.
DEFAULT = ("aime24", "amc", "math500", "minerva", "olympiadbench", "math_level3to5")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the paper's training set and the five evaluation sets of its Table 2, or others."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.math", description=main.__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--sets", nargs="+", choices=list(SETS), default=DEFAULT, help="default: %(default)s"
    )
    chosen.add_argument("--all", action="store_true", help=f"all: {', '.join(SETS)}")
    parser.add_argument(
        "--source-folder", type=Path, help="folder with files or folders called like the sets"
    )
    parser.add_argument("--folder", type=Path, default=Path("data"), help="default: data")
    add_options(parser, default_template="qwen_math")
    options = parser.parse_args(arguments)
    with clear_errors():
        prepare_sets(list(SETS) if options.all else options.sets, options)


def prepare_sets(names: Sequence[str], options: argparse.Namespace) -> None:
    """Prepare sets; training sets come last and are compared with the evaluation sets.

    Args:
        names: keys of ``SETS``.
        options: of the command line.

    Raises:
        ValueError: as :func:`data_prep.prepare.prepare`, listing all sets that failed.
    """
    settings = settings_of(options)
    # GSM8K has both: its training rows are compared with the sets before it.
    order = [*(name for name in SETS if SETS[name].split == "test"), *SETS]
    ordered = [SETS[name] for name in dict.fromkeys(order) if name in names]
    failed = []
    prepared: list[Path] = []
    for math_set in ordered:
        folder = options.folder / math_set.name
        chosen = dataclasses.replace(
            settings,
            held_out=(*settings.held_out, *prepared),
            template=settings.template or "qwen_math",
        )
        files = (gsm8k.SET, gsm8k.TRAIN) if math_set is gsm8k.SET else (math_set,)
        try:
            prepare_folder(dict.fromkeys(files, options.source_folder), folder, chosen)
        except ValueError as error:
            failed.append(str(error))
            print(f"{folder}: FAILED")
            continue
        splits = {file.split for file in files}
        if options.tiny_model and "train" in splits:
            ensure_tiny_model(folder / "tiny_model")
        if "test" in splits:
            prepared.append(folder / "test.parquet")
    if failed:
        listed = "".join(f"\n  {message}" for message in failed)
        raise ValueError(f"{len(failed)} of {len(ordered)} sets could not be prepared:{listed}")


if __name__ == "__main__":
    main()
