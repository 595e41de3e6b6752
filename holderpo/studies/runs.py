"""One training run as read from its folder, finished or not, here or copied from elsewhere."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holderpo.number_kinds import is_whole
from holderpo.studies.held_out import HeldOut, first_and_last
from holderpo.studies.run_files import (
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    SWEEP_FILE,
    Row,
    flatten,
    lookup,
    name_steps,
    read_json,
    read_rows,
    read_yaml,
)

# Settings that say where and when, not what: they may differ between seeds of one arm.
_PLACE = re.compile(
    r"(^|[._])seed$|^(run_dir|check|resume_with)$"
    r"|^trainer\.(experiment_name|project_name|resume_mode|resume_from_path|logger)$"
    r"|^trainer\.(default_local_dir|validation_data_dir|rollout_data_dir)$"
)


class RunError(ValueError):
    """A folder that cannot be read as a run."""


@dataclass(frozen=True)
class Run:
    """What a run's folder says."""

    folder: Path
    """As it was given."""
    arm: str
    """What is compared: runs of one arm differ in their seed only."""
    method: str
    """From sweep.json, or the loss mode."""
    p: Any
    """Settings of the order: sweep.json's, else the section of the configuration; None if neither
    has any, or the loss has no order."""
    seed: int
    """Of the run; the unit that arms are averaged and paired over."""
    rows: tuple[Row, ...]
    """Numbers of each step, in order; step 0 is the validation before training."""
    planned_steps: int | None
    """Steps it was to take, if the configuration says so."""
    unfinished: str | None
    """Why it does not count as finished; None if it does."""
    summary: Mapping[str, Any]
    """Of a finished run."""
    config: Mapping[str, Any]
    """As Hydra wrote it, references not resolved."""
    sweep: Mapping[str, Any]
    """sweep.json, if there is one."""
    notes: tuple[str, ...]
    """What was missing or broken, each naming its file."""

    @property
    def steps(self) -> tuple[int, ...]:
        """Training steps with a line in the metrics file."""
        return tuple(int(row["step"]) for row in self.rows if row["step"] > 0)

    @property
    def config_hash(self) -> str | None:
        """Of all settings but the run's folder, whatever their order; None without any."""
        if not self.config:
            return None
        settings = {name: value for name, value in self.config.items() if name != "run_dir"}
        text = json.dumps(settings, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def metrics_path(self) -> Path:
        """The metrics file."""
        return self.folder / METRICS_FILE

    def values(self, metric: str) -> tuple[float | None, ...]:
        """A metric at each training step; None where it is missing or not finite."""
        found = (row.get(metric, math.nan) for row in self.rows if row["step"] > 0)
        return tuple(value if math.isfinite(value) else None for value in found)

    def describe_gaps(self, metric: str) -> list[str]:
        """Sentences on the steps in which a metric is missing or not finite."""
        wrong: dict[str, list[int]] = {}
        for row in self.rows:
            value = row.get(metric)
            if row["step"] > 0 and (value is None or not math.isfinite(value)):
                kind = "missing" if value is None else "not finite"
                wrong.setdefault(kind, []).append(int(row["step"]))
        total = len(self.steps)
        return [
            f"{self.metrics_path}: {metric} is {kind} in "
            + (
                f"all {total} steps"
                if len(steps) == total
                else f"{len(steps)} of {total} steps ({name_steps(steps)}), which are left out"
            )
            for kind, steps in wrong.items()
        ]

    def held_out(self) -> HeldOut:
        """Held-out accuracy of the metrics file, averaged over data sets."""
        return first_and_last(self.rows)


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Args:
        folder: with metrics.jsonl and config.yaml; summary.json if the run finished, and
            sweep.json (``arm``, ``method``, ``p``, ``seed``, each optional) if a sweep started it.

    Returns:
        The run. Broken lines and missing files are in its notes.

    Raises:
        RunError: if it is no run's folder, or has no arm or seed.
    """
    if not (folder / METRICS_FILE).exists() and not (folder / CONFIG_FILE).exists():
        raise RunError(
            f"{folder}: neither {METRICS_FILE} nor {CONFIG_FILE}; give a run's folder, or a folder "
            "of runs after --sweep"
        )
    notes: list[str] = []
    config = read_yaml(folder / CONFIG_FILE, notes)
    sweep = read_json(folder / SWEEP_FILE, notes)
    summary = read_json(folder / SUMMARY_FILE, notes)
    rows = read_rows(folder / METRICS_FILE, notes)
    arm = sweep.get("arm") or arm_of(lookup(config, "trainer.experiment_name"))
    configured_seed = lookup(config, "seed")
    seed = sweep.get("seed", configured_seed)
    if not isinstance(arm, str) or not is_whole(seed):
        raise RunError(
            f"{folder}: arm {arm!r}, seed {seed!r}; {SWEEP_FILE} must have 'arm' and 'seed', or "
            f"{CONFIG_FILE} trainer.experiment_name and seed. {'; '.join(notes)}".rstrip()
        )
    if configured_seed not in (None, seed):
        notes.append(
            f"{folder / SWEEP_FILE}: seed {seed} counts, {CONFIG_FILE} has {configured_seed}"
        )
    loss_mode = lookup(config, "actor_rollout_ref.actor.policy_loss.loss_mode")
    configured_p = config.get("p") if loss_mode in (None, "holder") else None
    planned = lookup(config, "trainer.total_training_steps")
    return Run(
        folder=folder,
        arm=arm,
        method=str(sweep.get("method") or loss_mode or "unknown"),
        p=configured_p if sweep.get("p") is None else sweep["p"],
        seed=seed,
        rows=tuple(rows),
        planned_steps=planned if isinstance(planned, int) and planned > 0 else None,
        unfinished=_why_unfinished(folder, rows, summary, planned),
        summary=summary,
        config=config,
        sweep=sweep,
        notes=tuple(notes),
    )


def arm_of(experiment_name: Any) -> str | None:
    """The name of an experiment without its seed: ``grpo`` of ``grpo_seed3`` or ``grpo-seed3``."""
    if not isinstance(experiment_name, str):
        return None
    return re.sub(r"[_-]seed[_-]?\d+$", "", experiment_name) or None


def _why_unfinished(
    folder: Path, rows: Sequence[Row], summary: Mapping[str, Any], planned: Any
) -> str | None:
    """Finished is a run with a summary of its last step, which is the last planned one."""
    last = int(rows[-1]["step"]) if rows else 0
    if isinstance(planned, int) and last < planned:
        return f"{last} of {planned} steps"
    if not summary:
        broken = (folder / SUMMARY_FILE).exists()
        return f"{'broken' if broken else 'no'} {SUMMARY_FILE}, steps so far: {last}"
    if summary.get("steps", last) != last:
        return f"{SUMMARY_FILE} is of step {summary['steps']}, {METRICS_FILE} ends at {last}"
    return None


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """Settings in which runs differ, other than seeds and places.

    Args:
        runs: of one arm.

    Returns:
        Dotted names, sorted; runs without a configuration are not looked at.
    """
    flat = [flatten(run.config) for run in runs if run.config]
    names = sorted({name for settings in flat for name in settings if not _PLACE.search(name)})
    return [name for name in names if len({_without_seed(one.get(name)) for one in flat}) > 1]


def _without_seed(value: Any) -> str:
    """A setting as text; the number in ``seed_3`` of a path is the run's seed."""
    return re.sub(r"seed[_-]?\d+", "seed", json.dumps(value, sort_keys=True, default=str))
