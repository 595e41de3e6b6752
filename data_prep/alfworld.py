"""Prepare games of ALFWorld: the official ones where they lie, or generated ones.

The official games come with the package's own command: ``alfworld-download`` unpacks them in
``$ALFWORLD_DATA/json_2.1.1``: 3,553 games in train, 140 in valid_seen, 134 in valid_unseen. An
older split of 200, valid_train, is in some archives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from data_prep.alfworld_generator import MIXED, SPLITS, GeneratorSettings, generate
from data_prep.alfworld_rooms import SIZES
from data_prep.alfworld_tables import read_tables
from data_prep.command import clear_errors, ensure_tiny_model
from holderpo.alfworld.engine import missing_packages
from holderpo.alfworld.games import Manifest, collect_games, write_manifest
from holderpo.alfworld.split_folders import OFFICIAL_COUNTS, splits_below
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.sheets import WIDTH, Sheet, show


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: of the command line; by default the program's own.
    """
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.alfworld",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    _add_official(commands.add_parser("official", help="list and check the official games"))
    _add_generate(commands.add_parser("generate", help="make games of the same kind"))
    for command in commands.choices.values():
        command.add_argument(
            "--tiny-model",
            action="store_true",
            help="also make a tiny random model, one token per character, to try the games with",
        )
    options = parser.parse_args(arguments)
    with clear_errors():
        try:
            options.run(options)
            if options.tiny_model:
                ensure_tiny_model(options.folder / "tiny_model")
        except OSError as error:
            # A full disk names no file.
            place = error.filename or options.folder
            raise ValueError(f"{place}: {error.strerror}") from error


def _add_official(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write a manifest of each official split, <folder>/<split>.json; the games stay where they "
        "are. They come from `alfworld-download`: 3,553 in train, 140 in valid_seen, 134 in "
        "valid_unseen."
    )
    parser.add_argument(
        "--games", type=Path, required=True, help="folder that they are in, anywhere below it"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=list(OFFICIAL_COUNTS),
        help="which ones (default: all that are there)",
    )
    parser.add_argument("--folder", type=Path, default=Path("data/alfworld"))
    parser.set_defaults(run=_official)


def _official(options: argparse.Namespace) -> None:
    splits = options.splits or sorted(splits_below(options.games), key=list(OFFICIAL_COUNTS).index)
    if not splits:
        raise ValueError(
            f"games: none of {', '.join(OFFICIAL_COUNTS)} is below {options.games}; give the "
            "folder that `alfworld-download` unpacked them in"
        )
    # The bar appears only if this takes a while, and not where the output is no terminal.
    reading = tqdm(splits, desc="splits", delay=2, disable=None, leave=False)
    manifests = [collect_games(options.games, split) for split in reading]
    files = [options.folder / f"{manifest.split}.json" for manifest in manifests]
    for file, manifest in zip(files, manifests, strict=True):
        if file.exists() and _digest(file) != manifest.digest:
            raise ValueError(
                f"folder: {file} lists other games; remove it or give another --folder"
            )
    options.folder.mkdir(parents=True, exist_ok=True)
    for file, manifest in zip(files, manifests, strict=True):
        write_manifest(file, manifest)
    _report(options.folder, manifests)


def _digest(file: Path) -> str | None:
    """Of a manifest's games; None for what is no manifest."""
    try:
        return str(json.loads(file.read_bytes())["digest"])
    except (ValueError, KeyError, TypeError):
        return None


def _add_generate(parser: argparse.ArgumentParser) -> None:
    defaults = GeneratorSettings()
    parser.description = (
        "Generate games of all six task types, each won by its own commands in the engine, in the "
        "folders and files of the official ones. The same settings give the same files."
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="(default: %(default)s)")
    parser.add_argument(
        "--size",
        choices=[*SIZES, MIXED],
        default=defaults.size,
        help="of the rooms; large ones are as the official ones (default: %(default)s)",
    )
    texts = {
        "train": "games of each task type",
        "valid_seen": "the same, in rooms of train",
        "valid_unseen": "the same, in rooms that are never in train",
    }
    for split in SPLITS:
        parser.add_argument(
            f"--{split.replace('_', '-')}",
            type=int,
            metavar="N",
            default=getattr(defaults, split),
            help=f"{texts[split]} (default: %(default)s)",
        )
    parser.add_argument(
        "--logic",
        type=Path,
        metavar="GAME_FILE",
        help="take domain and grammar, so the wording too, from this game.tw-pddl (default: those "
        "of the installed alfworld)",
    )
    parser.add_argument("--folder", type=Path, default=Path("data/alfworld_generated"))
    parser.set_defaults(run=_generate)


def _generate(options: argparse.Namespace) -> None:
    settings = GeneratorSettings(
        seed=options.seed,
        size=options.size,
        train=options.train,
        valid_seen=options.valid_seen,
        valid_unseen=options.valid_unseen,
        logic=options.logic,
    )
    if missing := missing_packages():
        raise ValueError(missing)
    manifests, replaced = generate(options.folder, settings, read_tables())
    _report(options.folder, manifests)
    for reason, count in replaced.items():
        print(f"{count} draws were replaced: {reason}")


def _report(folder: Path, manifests: Sequence[Manifest]) -> None:
    splits = [manifest.split for manifest in manifests]
    rows = [
        [task_type, *(str(manifest.counts[task_type]) for manifest in manifests)]
        for task_type in TASK_TYPES
    ]
    rows.append(["all", *(str(len(manifest.games)) for manifest in manifests)])
    show(Sheet(f"Games in {folder}", ["task type", *splits], rows), Console(width=WIDTH))
    for line in _notes(manifests):
        print(line)


def _notes(manifests: Iterable[Manifest]) -> Iterable[str]:
    for manifest in manifests:
        wordings = sorted({game.wording for game in manifest.games})
        line = f"{manifest.split}: {' and '.join(wordings)}, digest {manifest.digest[:12]}"
        if early := sum(game.wins_without_put for game in manifest.games):
            line += f", {early} can be won without the last put"
        yield line
        yield from (f"warning: {warning}" for warning in manifest.warnings)


if __name__ == "__main__":
    main()
