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
    ENV_STEPS,
    EPISODE_SUCCESS_FRAC,
    ESS_FRAC,
    ESS_FRAC_MIN,
    LOG_RATIO_MAX,
    LOG_RATIO_MIN,
    P_NEGATIVE,
    P_POSITIVE,
    POLICY_ENTROPY,
    REWARD_MEAN,
    STEP_SECONDS,
    TRUNCATED_FRAC,
    P,
)
from holderpo.studies import held_out
from holderpo.studies.diagrams import Diagram, draw_diagrams
from holderpo.studies.run_files import (
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    name_steps,
    not_finite_steps,
    read_json,
    read_rows,
    read_yaml,
)
from recipe.holderpo.alfworld.agent_settings import has_agent
from recipe.holderpo.checks.plan import rollouts_per_step, updates_per_step
from recipe.holderpo.run.phases import FIRST_UPDATE, LAUNCHED, PHASES_FILE

# Of the summary's numbers, those given for the first and the last step that has them.
_FIRST_AND_LAST = {
    "reward": REWARD_MEAN,
    "sampled_success": EPISODE_SUCCESS_FRAC,
    "truncated": TRUNCATED_FRAC,
    "p": P,
    "ess_frac": ESS_FRAC,
}
# Metrics named on the screen; summary.json has all.
_MOST_NAMED = 4
PICTURE_FILE = "report.png"
HELDOUT = "heldout accuracy"
# What a held-out number is called: of answers, or of games.
_ACCURACY, _SUCCESS = "accuracy", "success"

DIAGRAMS = (
    Diagram(
        "accuracy",
        {REWARD_MEAN: "reward, sampled", HELDOUT: "held out", TRUNCATED_FRAC: "truncated"},
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
# The reward of a game is not between 0 and 1.
GAME_DIAGRAMS = (
    Diagram(
        "success",
        {EPISODE_SUCCESS_FRAC: "sampled", HELDOUT: "held out", TRUNCATED_FRAC: "truncated"},
        (0.0, 1.02),
    ),
    *DIAGRAMS[1:],
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
        if held_out.accuracies(row):
            accuracy = held_out.accuracy(row)
            row[HELDOUT] = math.nan if accuracy is None else accuracy
    for path in (run_dir / PICTURE_FILE, *pictures):
        diagrams = GAME_DIAGRAMS if has_agent(config) else DIAGRAMS
        draw_diagrams(rows, diagrams, path, title=config.trainer.experiment_name)

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
    except (OmegaConfBaseException, AssertionError, TypeError, ValueError) as error:
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
    }
    if not has_agent(config):
        summary["updates_per_step"] = updates_per_step(config)
    if seconds := _finite(steps, STEP_SECONDS):
        summary["seconds_per_step_median"] = statistics.median(seconds)
        if played := _finite(steps, ENV_STEPS):
            summary["steps_per_second"] = sum(played) / sum(seconds)
    for key, name in _FIRST_AND_LAST.items():
        if values := _finite(steps, name):
            summary |= {f"{key}_first": values[0], f"{key}_last": values[-1]}
    if not_finite := not_finite_steps(rows):
        names = sorted(not_finite.keys() - {HELDOUT}, key=lambda one: (not _is_shown(one), one))
        summary["not_finite"] = {name: name_steps(not_finite[name]) for name in names}
    validated = [row for row in rows if math.isfinite(row.get(HELDOUT, math.nan))]
    num_heldout = _num_heldout(config)
    if validated and num_heldout:
        summary["num_heldout"] = num_heldout
        if validated[0]["step"] == 0:
            summary |= _held_out("before", validated[0], num_heldout)
        if validated[-1]["step"] > 0:
            summary |= _held_out("after", validated[-1], num_heldout)
    return summary


def _is_shown(name: str) -> bool:
    """Whether a line of the screen or a diagram is made of this metric."""
    drawn = (name for diagram in DIAGRAMS for name in diagram.curves)
    shown = {STEP_SECONDS, *_FIRST_AND_LAST.values(), *drawn}
    return name.startswith("val-core/") or name in shown


def _finite(rows: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]


def _held_out(when: str, row: Mapping[str, float], num_heldout: int) -> dict[str, Any]:
    """Mean over the sets; an interval for one set, otherwise each set's number; games by type."""
    games, by_source = held_out.successes(row), held_out.accuracies(row)
    by_set, truncated = games or by_source, held_out.truncated_shares(row)
    name = f"{_SUCCESS if games else _ACCURACY}_{when}"
    entries: dict[str, Any] = {name: row[HELDOUT]}
    if len(by_set) == 1:
        interval = wilson_interval(round(row[HELDOUT] * num_heldout), num_heldout)
        entries[f"{name}_interval"] = list(interval)
    else:
        entries[f"{name}_by_set"] = by_set
    if games:
        entries[f"{name}_by_type"] = held_out.by_type(row)
    if shares := {name: share for name, share in truncated.items() if math.isfinite(share)}:
        entries[f"truncated_{when}_by_set"] = shares
    return entries


def screen_lines(summary: Mapping[str, Any], run_dir: Path) -> list[str]:
    """The summary as a person reads it."""
    lines = [""]
    for when in ("before", "after"):
        for kind in (_ACCURACY, _SUCCESS):
            if (name := f"{kind}_{when}") in summary:
                lines.append(
                    f"held-out {kind:<8} {when:<6} {100 * summary[name]:5.1f} %  "
                    f"({_about_held_out(summary, kind, when)})"
                )
    if "reward_first" in summary:
        first, last = summary["reward_first"], summary["reward_last"]
        line = f"sampled reward    {first:.3f} -> {last:.3f}"
        if "truncated_first" in summary:
            shares = (summary["truncated_first"], summary["truncated_last"])
            line += "  (truncated {:.1f} -> {:.1f} %)".format(*(100 * share for share in shares))
        lines.append(line)
    times = {"seconds_total": "{:.0f} s in all", "seconds_per_step_median": "{:.1f} s per step"}
    if known := [form.format(summary[key]) for key, form in times.items() if key in summary]:
        lines.append(f"time              {', '.join(known)}")
    not_finite = [
        f"{name} in step {steps}, left out" for name, steps in summary.get("not_finite", {}).items()
    ]
    if more := not_finite[_MOST_NAMED:]:
        not_finite[_MOST_NAMED:] = [f"{len(more)} more metrics: see {METRICS_FILE}"]
    lines += [f"not finite        {each}" for each in not_finite]
    lines.append(f"picture           {run_dir / PICTURE_FILE}")
    lines.append(f"numbers           {run_dir / SUMMARY_FILE}, {run_dir / METRICS_FILE}")
    return lines


def _about_held_out(summary: Mapping[str, Any], kind: str, when: str) -> str:
    """Interval of one set or the numbers of several, with the truncated share of each."""
    truncated = {
        name: f"truncated {100 * share:.1f} %"
        for name, share in summary.get(f"truncated_{when}_by_set", {}).items()
    }
    name, what = f"{kind}_{when}", "games" if kind == _SUCCESS else "problems"
    by_type = summary.get(f"{name}_by_type", {})
    types = [f"{one} {100 * value:.1f}" for one, value in by_type.items()]
    if f"{name}_interval" in summary:
        low, high = summary[f"{name}_interval"]
        interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        facts = [interval, f"{summary['num_heldout']} {what}", *types]
        return ", ".join([*facts, *truncated.values()])
    by_set = summary[f"{name}_by_set"]
    return "mean of " + ", ".join(
        f"{name} {100 * by_set[name]:.1f}" + (f" ({truncated[name]})" if name in truncated else "")
        for name in by_set
    )


def measure_import_seconds() -> float:
    """Seconds that one fresh process needs to import verl's trainer and vLLM.

    The yardstick for start-up times on this machine at this moment.
    """
    modules = "import verl.trainer.ppo.v1, vllm.entrypoints.openai.api_server"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", modules], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _num_heldout(config: DictConfig) -> int:
    """Held-out problems or games: distinct ones of the last validation dump."""
    folder = Path(config.trainer.validation_data_dir)
    dumps = [path for path in folder.glob("*.jsonl") if path.stem.isdigit()]
    dumps.sort(key=lambda path: int(path.stem))
    lines = dumps[-1].read_text().splitlines() if dumps else []
    # A game has a prompt for each turn, and its path in place of an answer.
    field = "gts" if has_agent(config) else "input"
    return len({json.loads(line)[field] for line in lines})
