"""Which model an evaluation is of: a Hugging Face folder, a name on the hub, or a checkpoint."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.holderpo.export import (
    HUGGINGFACE,
    checkpoint_problems,
    export,
    find_actor,
    has_weights,
    is_exported,
)

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Of a larger file only slices are hashed: training moves nearly every weight.
_WHOLE_FILE_BYTES = 1 << 20
_NUM_SLICES, _SLICE_BYTES = 64, 1 << 16


@dataclass(frozen=True)
class Model:
    """Where the weights are."""

    path: str
    """Folder, or name on the hub."""
    revision: str | None
    """Of the hub."""
    actor: Path | None
    """Checkpoint that the weights have to be exported from first."""

    @property
    def on_hub(self) -> bool:
        """Whether it is no folder here."""
        return not Path(self.path).is_dir()

    def export(self) -> None:
        """Put the weights of a checkpoint beside its tokenizer, once."""
        if self.actor is not None:
            export(self.actor, Path(self.path))

    def identity(self) -> dict[str, Any]:
        """What tells this model from others."""
        if self.on_hub:
            return {"path": self.path, "fingerprint": None, "hub": f"{self.path}@{self.revision}"}
        return {"path": self.path, "fingerprint": fingerprint(Path(self.path)), "hub": None}


def locate_model(text: str, revision: str | None, option: str = "--model") -> Model:
    """Find a model.

    Args:
        text: as on the command line.
        revision: of the hub.
        option: what names the model on the command line.

    Returns:
        Where it is.

    Raises:
        ValueError: if it is nowhere, or incomplete.
    """
    folder = Path(text).expanduser()
    if not folder.exists():
        if not _HUB_NAME.fullmatch(text):
            raise ValueError(f"{option}: {text} is not there; give a folder or a name on the hub")
        return Model(text, revision, None)
    if revision is not None:
        raise ValueError(f"--revision: {revision!r} is for names on the hub; {text} is a folder")
    if not folder.is_dir():
        raise ValueError(f"{option}: {text} is a file; give the folder it is in")
    try:
        actor = find_actor(folder)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if actor is not None:
        folder = actor / HUGGINGFACE
        if is_exported(actor):
            actor = None
        elif problems := checkpoint_problems(actor):
            raise ValueError(f"{option}: {'; '.join(problems)}")
    elif not (folder / "config.json").exists() or not has_weights(folder):
        raise ValueError(
            f"{option}: {text} has no config.json with weights and no checkpoint; give a Hugging "
            "Face folder, or a run's folder, its checkpoints, or one global_step_N"
        )
    return Model(str(folder), None, actor)


def fingerprint(folder: Path) -> str:
    """Digest of a model's files: names, sizes, contents; of large files evenly spaced slices.

    Args:
        folder: in Hugging Face's format.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith("."):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as content:
            if size <= _WHOLE_FILE_BYTES:
                digest.update(content.read())
                continue
            for number in range(_NUM_SLICES):
                content.seek(number * (size - _SLICE_BYTES) // (_NUM_SLICES - 1))
                digest.update(content.read(_SLICE_BYTES))
    return digest.hexdigest()[:16]
