"""The end of a run: what was reached, in summary.json and one picture."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

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
from holderpo.studies.run_files import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, read_json
from holderpo.studies.runs import held_out_accuracies, held_out_accuracy
from recipe.holderpo.checks.plan import rollouts_per_step, updates_per_step
from recipe.holderpo.run.phases import FIRST_UPDATE, PHASES_FILE
from recipe.holderpo.run.recorder import read_metrics

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
    config: DictConfig,
    *,
    seconds_total: float,
    import_seconds: float | None = None,
    pictures: Sequence[Path] = (),
) -> list[str]:
    """Write summary.json and report.png into the run's folder.

    Args:
        config: of the run.
        seconds_total: from the start of the launching process to the end of training.
        import_seconds: of :func:`measure_import_seconds`; None where it was not measured.
        pictures: further files for the picture; their endings choose the formats.

    Returns:
        Lines for the screen.
    """
    run_dir = Path(config.run_dir)
    rows = read_metrics(run_dir / METRICS_FILE)
    for row in rows:
        accuracy = held_out_accuracy(row)
        if accuracy is not None:
            row[HELDOUT] = accuracy
    for path in (run_dir / PICTURE_FILE, *pictures):
        draw_diagrams(rows, DIAGRAMS, path, title=config.trainer.experiment_name)

    summary = summarize(config, rows)
    summary["seconds_total"] = seconds_total
    # Of this very process: after a resume, to its first update.
    phases = json.loads((run_dir / PHASES_FILE).read_text())
    summary["seconds_to_first_step"] = phases[FIRST_UPDATE]
    if import_seconds is not None:
        summary["import_seconds"] = import_seconds
    (run_dir / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n")
    return screen_lines(summary, run_dir)


def summarize_folder(run_dir: Path, pictures: Sequence[Path] = ()) -> list[str]:
    """Make a run's summary and picture anew, from what it has left in its folder.

    Args:
        run_dir: of a run that has taken a step.
        pictures: as for :func:`write_summary`.

    Returns:
        Lines for the screen.

    Raises:
        ValueError: if the folder has no configuration, no step, or no start.
    """
    for name in (CONFIG_FILE, METRICS_FILE, PHASES_FILE):
        if not (run_dir / name).is_file():
            raise ValueError(f"{run_dir / name}: not there; give the folder of a run")
    config = OmegaConf.load(run_dir / CONFIG_FILE)
    assert isinstance(config, DictConfig)
    config.run_dir = str(run_dir)
    rows = read_metrics(run_dir / METRICS_FILE)
    phases = run_dir / PHASES_FILE
    started = json.loads(phases.read_text())
    if FIRST_UPDATE not in started or not rows or rows[-1]["step"] < 1:
        raise ValueError(f"{run_dir}: no step was taken; nothing to summarise")
    # Kept where it is known: a copied folder has other times of change.
    known = read_json(run_dir / SUMMARY_FILE, [])
    seconds = known.get("seconds_total")
    if seconds is None:
        # The last phase is in the file since it ended: when the process began follows.
        seconds = rows[-1]["wall_time"] - (phases.stat().st_mtime - started[FIRST_UPDATE])
    return write_summary(
        config,
        seconds_total=seconds,
        import_seconds=known.get("import_seconds"),
        pictures=pictures,
    )


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
        "seconds_per_step_median": statistics.median(row[STEP_SECONDS] for row in steps),
        "reward_first": steps[0][REWARD_MEAN],
        "reward_last": steps[-1][REWARD_MEAN],
    }
    for key, name in (("p", P), ("ess_frac", ESS_FRAC)):
        if name in steps[-1]:
            summary |= {f"{key}_first": steps[0][name], f"{key}_last": steps[-1][name]}
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
    lines.append(f"sampled reward    {summary['reward_first']:.3f} -> {summary['reward_last']:.3f}")
    lines.append(
        f"time              {summary['seconds_total']:.0f} s in all, "
        f"{summary['seconds_per_step_median']:.1f} s per step"
    )
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
    dumps = sorted(folder.glob("*.jsonl"), key=lambda path: int(path.stem))
    lines = dumps[-1].read_text().splitlines() if dumps else []
    return len({json.loads(line)["input"] for line in lines})
