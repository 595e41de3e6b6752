"""What is run, from a file that is written before: parts, each of arms in regimes with seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holderpo.lab.settings import ArmSettings, Cell, Regime, from_mapping

_PART = ("arms", "regimes", "task", "clip_ranges", "seeds", "model_seeds", "what")


@dataclass(frozen=True)
class Protocol:
    """The cells of each part, in the order in which they are run."""

    parts: Mapping[str, tuple[Cell, ...]]
    """By the name of the part."""
    questions: Mapping[str, str]
    """What each part is about."""


def read_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Args:
        path: YAML with sections ``tasks``, ``regimes``, ``arms`` and ``parts``, see
            ``docs/study/protocol.yaml``.

    Returns:
        The parts.

    Raises:
        ValueError: naming the field, its value and the fix.
    """
    text = read_sections(path)
    regimes = {
        name: from_mapping(Regime, {"name": name, **values}, f"regimes.{name}")
        for name, values in text["regimes"].items()
    }
    parts = {
        str(name): tuple(_cells(f"parts.{name}", part, text["tasks"], regimes, text["arms"]))
        for name, part in text["parts"].items()
    }
    return Protocol(parts, {str(name): part["what"] for name, part in text["parts"].items()})


def read_sections(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """A protocol's sections, as they are written.

    Args:
        path: of the protocol.

    Returns:
        Names and settings by section.

    Raises:
        ValueError: naming the file or the section that is missing.
    """
    try:
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    for section in ("tasks", "regimes", "arms", "parts"):
        if not isinstance((text or {}).get(section), Mapping):
            raise ValueError(f"{path}: {section}: missing; give a section of names")
    sections: Mapping[str, Mapping[str, Any]] = text
    return sections


def _cells(
    where: str,
    part: Mapping[str, Any],
    tasks: Mapping[str, Any],
    regimes: Mapping[str, Regime],
    arms: Mapping[str, Any],
) -> Iterator[Cell]:
    """Seed by seed, so that what is cut off has whole pairs."""
    if unknown := [name for name in part if name not in _PART]:
        raise ValueError(f"{where}.{unknown[0]}: unknown; give one of {', '.join(_PART)}")
    if missing := [name for name in ("arms", "regimes", "seeds", "what") if name not in part]:
        raise ValueError(f"{where}.{missing[0]}: missing")
    task_name = part.get("task", "columns")
    for kind, names, known in (
        ("arms", part["arms"], arms),
        ("regimes", part["regimes"], regimes),
        ("task", [task_name], tasks),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"{where}.{kind}: {name!r}; give one of {', '.join(known)}")
    for seed in part["seeds"]:
        for model_seed in part.get("model_seeds", [0]):
            for regime in part["regimes"]:
                for arm in _arms(part, arms):
                    yield Cell(
                        task=tasks[task_name],
                        regime=regimes[regime],
                        arm=arm,
                        seed=seed,
                        model_seed=model_seed,
                    )


def _arms(part: Mapping[str, Any], arms: Mapping[str, Any]) -> Iterator[ArmSettings]:
    """Each arm at its own clip range, or at each of the part's."""
    for name in part["arms"]:
        for clip in part.get("clip_ranges") or [None]:
            values = {"name": name, **arms[name]}
            if clip is not None:
                values |= {"name": f"{name}@{clip:g}", "clip_low": clip, "clip_high": clip}
            yield from_mapping(ArmSettings, values, f"arms.{name}")
