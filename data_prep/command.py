"""The command line that every set of mathematics problems shares."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.checks import ACTIONS, KINDS, Action
from data_prep.math_set import MathSet
from data_prep.parquet import write_manifest
from data_prep.prepare import Settings, manifest_about, prepare
from holderpo.benchmarks.prompt import TEMPLATES

# Longer than any prompt of the sets here, at one token per character.
TINY_MODEL_TOKENS = 8192


def run(math_set: MathSet, arguments: Sequence[str] | None = None) -> None:
    """Prepare one set from the command line.

    Args:
        math_set: which.
        arguments: of the command line; by default the program's own.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m data_prep.{math_set.name}",
        description=f"Write {math_set.name} as verl parquet with a manifest.",
    )
    parser.add_argument(
        "--source",
        type=Path,
        help=f"file or folder ({hub_text(math_set)})",
    )
    add_options(parser, default_template=math_set.template, training=math_set.split == "train")
    parser.add_argument("--folder", type=Path, default=Path("data") / math_set.name)
    options = parser.parse_args(arguments)
    with clear_errors():
        settings = settings_of(options)
        prepare_folder({math_set: options.source}, options.folder, settings)
        if getattr(options, "tiny_model", False):
            ensure_tiny_model(options.folder / "tiny_model")


def hub_text(math_set: MathSet) -> str:
    """What happens without a source, for ``--help``."""
    if math_set.hub is None:
        return "required: no hub id is known"
    checked = "" if math_set.hub.checked else ", unchecked"
    return f"default: {math_set.hub.id} of the hub{checked}"


def add_options(
    parser: argparse.ArgumentParser, *, default_template: str, training: bool = True
) -> None:
    """Add the options of :class:`~data_prep.prepare.Settings`.

    Args:
        parser: to add to.
        default_template: named in the help.
        training: whether to offer what only makes sense for training sets.
    """
    parser.add_argument(
        "--template", choices=list(TEMPLATES), help=f"of the prompts (default: {default_template})"
    )
    parser.add_argument("--max-rows", type=int, help="take only the first rows")
    parser.add_argument(
        "--any-number-of-rows",
        action="store_true",
        help="accept another number of rows than the published set has",
    )
    parser.add_argument("--revision", help="branch, tag or commit of the hub")
    rows = parser.add_argument_group(
        "rows with problems",
        "All are listed in the output and in manifest.json. By default they are dropped from "
        "training sets and kept in evaluation sets, which stay as published. The paper trained "
        "on all 8,523 rows: --on-problem-rows keep.",
    )
    rows.add_argument("--on-problem-rows", choices=ACTIONS, help="what to do with all kinds")
    for kind, meaning in KINDS.items():
        rows.add_argument(f"--on-{kind}", choices=ACTIONS, help=meaning)
    if training:
        rows.add_argument(
            "--held-out",
            type=Path,
            nargs="+",
            default=[],
            help="files, or folders with prepared sets, to look for overlap with",
        )
        parser.add_argument(
            "--tiny-model",
            action="store_true",
            help="also make a tiny random model with one token per character, to try the set with",
        )


def settings_of(options: argparse.Namespace) -> Settings:
    """Settings from the options of :func:`add_options`.

    Raises:
        ValueError: for a number of rows below 1.
    """
    if options.max_rows is not None and options.max_rows < 1:
        raise ValueError(f"--max-rows: {options.max_rows}; give 1 or more")
    actions: dict[str, Action] = {}
    for kind in KINDS:
        action = getattr(options, f"on_{kind}") or options.on_problem_rows
        if action:
            actions[kind] = action
    return Settings(
        template=options.template,
        held_out=tuple(getattr(options, "held_out", ())),
        actions=actions,
        max_rows=options.max_rows,
        any_number_of_rows=options.any_number_of_rows,
        revision=options.revision,
    )


def prepare_folder(
    sources: Mapping[MathSet, Path | None], folder: Path, settings: Settings
) -> None:
    """Prepare the files of one folder, and write its manifest last.

    Args:
        sources: each file's set, with its file or folder; None is the hub. Training rows are
            compared with the test rows before them.
        folder: of the set.
        settings: of the preparation.

    Raises:
        ValueError: as :func:`data_prep.prepare.prepare`.
    """
    entries, held_out = [], settings.held_out
    for math_set, source in sources.items():
        chosen = dataclasses.replace(settings, held_out=held_out)
        entries.append(prepare(math_set, source=source, folder=folder, settings=chosen))
        if math_set.split == "test":
            held_out = (*held_out, folder / "test.parquet")
    write_manifest(folder, entries, **manifest_about(next(iter(sources)), settings))


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Within it, a mistake of the user ends the program with one line."""
    try:
        yield
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def ensure_tiny_model(folder: Path, *, max_tokens: int = TINY_MODEL_TOKENS) -> None:
    """Make a tiny random model, unless it is there; the same one every time.

    Args:
        folder: of the Hugging Face checkpoint.
        max_tokens: longest prompt plus response.
    """
    import torch

    from data_prep.tiny_model import save, tiny_qwen2

    config = folder / "config.json"
    # The tokenizer is saved last, and of it this file: with it the model is complete.
    complete = config.exists() and (folder / "tokenizer.json").exists()
    if complete and json.loads(config.read_text())["max_position_embeddings"] == max_tokens:
        print(f"{folder}: unchanged")
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(folder, tiny_qwen2(max_tokens=max_tokens))
    print(f"{folder}: a tiny random model of at most {max_tokens} tokens, one per character")
