"""The end of a run: what was reached, in summary.json and one picture."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from holderpo.intervals import wilson_interval
from holderpo.metrics import (
    CLIP_FRAC_HIGH,
    CLIP_FRAC_LOW,
    ESS_FRAC,
    ESS_FRAC_MIN,
    LOG_RATIO_MAX,
    LOG_RATIO_MIN,
    P_NEGATIVE,
    P_POSITIVE,
    POLICY_ENTROPY,
    REWARD_MEAN,
    STEP_SECONDS,
    P,
)
from holderpo.studies.diagrams import Diagram, draw_diagrams
from holderpo.studies.run_files import (
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    read_json,
    read_rows,
    read_yaml,
)
from holderpo.studies.runs import held_out_accuracies, held_out_accuracy
from recipe.holderpo.checks.plan import rollouts_per_step, updates_per_step
from recipe.holderpo.run.phases import FIRST_UPDATE, LAUNCHED, PHASES_FILE

PICTURE_FILE = "report.png"
HELDOUT = "heldout accuracy"

DIAGRAMS = (
    Diagram(
        "accuracy",
        {REWARD_MEAN: "reward, sampled", HELDOUT: "held out"},
        (0.0, 1.02),
    ),
    Diagram(
        "order p",
        {P: "p", P_POSITIVE: "A > 0", P_NEGATIVE: "A < 0"},
    ),
    Diagram(
        "ESS fraction of the token weights",
        {ESS_FRAC: "mean", ESS_FRAC_MIN: "smallest response"},
        (0.0, 1.02),
    ),
    Diagram("entropy of the policy (nats)", {POLICY_ENTROPY: "entropy"}),
    Diagram(
        "clipped responses (fraction)",
        {CLIP_FRAC_HIGH: "above", CLIP_FRAC_LOW: "below"},
        (0.0, None),
    ),
    Diagram(
        "log-ratio of tokens (nats)",
        {LOG_RATIO_MAX: "largest", LOG_RATIO_MIN: "smallest"},
    ),
)


def write_summary(
    run_dir: Path, *, import_seconds: float | None = None, pictures: Sequence[Path] = ()
) -> list[str]:
    """Write report.png into a run's folder, and summary.json if the run is finished.

    Everything is read from what the run has left there, so it can be done again at any time.

    Args:
        run_dir: of a run that has taken a step.
        import_seconds: of :func:`measure_import_seconds`; None for what an earlier summary says.
        pictures: further files for the picture; their endings choose the formats.

    Returns:
        Lines for the screen.

    Raises:
        ValueError: if the folder has no configuration or no step, or cannot be understood.
    """
    notes: list[str] = []
    config = _config_of(run_dir, notes)
    rows = [dict(row) for row in read_rows(run_dir / METRICS_FILE, notes)]
    steps = [row for row in rows if row["step"] > 0]
    if not steps:
        raise ValueError("\n".join([f"{run_dir}: no step was taken, nothing to report", *notes]))
    for row in rows:
        accuracy = held_out_accuracy(row)
        if accuracy is not None:
            row[HELDOUT] = accuracy
    for path in (run_dir / PICTURE_FILE, *pictures):
        draw_diagrams(rows, DIAGRAMS, path, title=config.trainer.experiment_name)

    summary = summarize(config, rows) | _timing(run_dir, rows, notes)
    if import_seconds is None:
        import_seconds = read_json(run_dir / SUMMARY_FILE, notes).get("import_seconds")
    if import_seconds is not None:
        summary["import_seconds"] = import_seconds
    lines = screen_lines(summary, run_dir)
    total = config.trainer.total_training_steps
    if summary["steps"] >= total:
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        (run_dir / SUMMARY_FILE).write_text(text, encoding="utf-8")
    else:
        # Whatever looks for a summary takes the run for finished.
        lines.append(f"unfinished        {summary['steps']} of {total} steps, no {SUMMARY_FILE}")
    return [*lines, *notes]


def _config_of(run_dir: Path, notes: list[str]) -> DictConfig:
    if not (run_dir / CONFIG_FILE).is_file() or not (run_dir / METRICS_FILE).is_file():
        raise ValueError(f"{run_dir}: no {CONFIG_FILE} or no {METRICS_FILE}; give a run's folder")
    config = OmegaConf.create(read_yaml(run_dir / CONFIG_FILE, notes))
    try:
        config.run_dir = str(run_dir)
        OmegaConf.resolve(config)
        # What is read of it, so that what is missing is said once and here.
        rollouts_per_step(config), updates_per_step(config)
        needed = (config.trainer.total_training_steps, config.trainer.validation_data_dir)
        assert None not in needed, "neither may be null in a run that was started"
    except (OmegaConfBaseException, AssertionError, TypeError) as error:
        reason = "; ".join([*notes, str(error).splitlines()[0]])
        raise ValueError(f"{run_dir / CONFIG_FILE}: not that of a run ({reason})") from error
    return config


def _timing(
    run_dir: Path, rows: Sequence[Mapping[str, float]], notes: list[str]
) -> dict[str, float]:
    """From the launch to the first update and to the last step, of the last process.

    Nothing where that is not known: a process that got no further has replaced the file.
    """
    started = read_json(run_dir / PHASES_FILE, notes)
    launched = started.get(LAUNCHED)
    first_step = started.get(FIRST_UPDATE)
    ended = rows[-1].get("wall_time")
    if launched is None or first_step is None or ended is None or ended < launched:
        return {}
    return {"seconds_total": ended - launched, "seconds_to_first_step": first_step}


def summarize(config: DictConfig, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The run in a few numbers.

    Args:
        config: of the run.
        rows: of metrics.jsonl, with the held-out accuracy under ``HELDOUT``.

    Returns:
        JSON-serialisable summary; what was not measured is missing.
    """
    steps = [row for row in rows if row["step"] > 0]
    summary: dict[str, Any] = {
        "experiment": config.trainer.experiment_name,
        "seed": config.seed,
        "steps": int(steps[-1]["step"]),
        "rollouts_per_step": rollouts_per_step(config),
        "updates_per_step": updates_per_step(config),
    }
    if seconds := [row[STEP_SECONDS] for row in steps if STEP_SECONDS in row]:
        summary["seconds_per_step_median"] = statistics.median(seconds)
    for key, name in (("reward", REWARD_MEAN), ("p", P), ("ess_frac", ESS_FRAC)):
        if values := [row[name] for row in steps if math.isfinite(row.get(name, math.nan))]:
            summary |= {f"{key}_first": values[0], f"{key}_last": values[-1]}
    validated = [row for row in rows if HELDOUT in row]
    num_heldout = _num_heldout(config)
    if validated and num_heldout:
        summary["num_heldout"] = num_heldout
        if validated[0]["step"] == 0:
            summary |= _accuracy("before", validated[0], num_heldout)
        if validated[-1]["step"] > 0:
            summary |= _accuracy("after", validated[-1], num_heldout)
    return summary


def _accuracy(when: str, row: Mapping[str, float], num_heldout: int) -> dict[str, Any]:
    """Mean over the sets; an interval for one set, otherwise each set's accuracy."""
    by_set = held_out_accuracies(row)
    entries: dict[str, Any] = {f"accuracy_{when}": row[HELDOUT]}
    if len(by_set) == 1:
        interval = wilson_interval(round(row[HELDOUT] * num_heldout), num_heldout)
        entries[f"accuracy_{when}_interval"] = list(interval)
    else:
        entries[f"accuracy_{when}_by_set"] = by_set
    return entries


def screen_lines(summary: Mapping[str, Any], run_dir: Path) -> list[str]:
    """The summary as a person reads it."""
    lines = [""]
    for when in ("before", "after"):
        if f"accuracy_{when}" not in summary:
            continue
        if f"accuracy_{when}_interval" in summary:
            low, high = summary[f"accuracy_{when}_interval"]
            more = f"95 % interval {100 * low:.1f} to {100 * high:.1f}, "
            more += f"{summary['num_heldout']} problems"
        else:
            by_set = summary[f"accuracy_{when}_by_set"]
            more = "mean of " + ", ".join(f"{name} {100 * by_set[name]:.1f}" for name in by_set)
        lines.append(
            f"held-out accuracy {when:<6} {100 * summary[f'accuracy_{when}']:5.1f} %  ({more})"
        )
    if "reward_first" in summary:
        first, last = summary["reward_first"], summary["reward_last"]
        lines.append(f"sampled reward    {first:.3f} -> {last:.3f}")
    times = {"seconds_total": "{:.0f} s in all", "seconds_per_step_median": "{:.1f} s per step"}
    if known := [form.format(summary[key]) for key, form in times.items() if key in summary]:
        lines.append(f"time              {', '.join(known)}")
    lines.append(f"picture           {run_dir / PICTURE_FILE}")
    lines.append(f"numbers           {run_dir / SUMMARY_FILE}, {run_dir / METRICS_FILE}")
    return lines


def measure_import_seconds() -> float:
    """Seconds that one fresh process needs to import verl's trainer and vLLM.

    The yardstick for start-up times on this machine at this moment.
    """
    modules = "import verl.trainer.ppo.v1, vllm.entrypoints.openai.api_server"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", modules], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _num_heldout(config: DictConfig) -> int:
    """Held-out problems: distinct ones of the last validation dump."""
    folder = Path(config.trainer.validation_data_dir)
    dumps = [path for path in folder.glob("*.jsonl") if path.stem.isdigit()]
    dumps.sort(key=lambda path: int(path.stem))
    lines = dumps[-1].read_text().splitlines() if dumps else []
    return len({json.loads(line)["input"] for line in lines})
