"""A quiet screen: a progress bar and a line per step; everything else goes to a log file."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from holderpo.metrics import (
    ESS_FRAC,
    FAILED_PROMPTS,
    GRADIENT_NORM,
    LOG_RATIO_MAX,
    LOG_RATIO_MIN,
    NONFINITE_FRAC,
    P_NEGATIVE,
    P_POSITIVE,
    REWARD_MEAN,
    SKIPPED_UPDATES,
    STEP_SECONDS,
    TRUNCATED_FRAC,
    P,
)
from holderpo.studies import held_out
from recipe.holderpo.run.trouble import Reminder, trouble

if TYPE_CHECKING:
    from recipe.holderpo.checks.plan import Plan


def announce(plan: Plan) -> None:
    """Print the plan and its warnings."""
    print("\n".join(plan.lines), flush=True)
    for warning in plan.warnings:
        print(f"warning    {warning}", flush=True)


class Console:
    """The original screen, kept while stdout and stderr of this process go to a log file."""

    def __init__(self, log_path: Path) -> None:
        """Send the file descriptors 1 and 2 to ``log_path``.

        Ray forwards what its workers print to this process's stdout, so their output follows.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path = log_path
        sys.stdout.flush()
        sys.stderr.flush()
        # Not given back: libraries still write while the process ends.
        self.screen: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        self._bar: tqdm | None = None
        self._reminder = Reminder()

    def say(self, text: str) -> None:
        """Print a line above the bar, and into the log."""
        _into_log(text)
        # A run goes on without a screen: that may be a pipe whose reader has ended.
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.clear()
            print(text, file=self.screen, flush=True)
            if self._bar is not None:
                self._bar.refresh()

    def start_bar(self, *, initial: int, total: int) -> None:
        """Show the progress bar; on a screen that is no terminal the lines alone remain."""
        self._bar = tqdm(
            initial=initial,
            total=total,
            unit="step",
            file=self.screen,
            dynamic_ncols=True,
            leave=False,
            disable=not self.screen.isatty(),
        )

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Advance the bar, print the step's line, and what is wrong with the step below it."""
        if self._bar is not None and step > 0:
            self._bar.set_postfix_str(_short(metrics), refresh=False)
            self._bar.update(step - self._bar.n if not self._bar.disable else 0)
        self.say(step_line(step, metrics))
        for line in self._reminder.due(step, trouble(metrics)):
            self.say(f"warning    {line}")

    def phase(self, name: str, seconds: float) -> None:
        """Say that a phase of the start has ended."""
        self.say(f"start      {name}, {seconds:.0f} s after launch")

    def fail(self, text: str) -> None:
        """Make ``text`` the last thing on the screen."""
        self.end_bar()
        self.say(text)

    def fail_with(self, error: BaseException, then: str = "") -> None:
        """Write the traceback to the log and the error that matters to the screen, last.

        Args:
            error: that ended the run.
            then: what follows it on the same line.
        """
        _into_log("".join(traceback.format_exception(error)))
        self.fail(f"details in {self.log_path}\nfailed: {essence(error)}{then}")

    def end_bar(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _into_log(text: str) -> None:
    """Print to the log, which may lie on a full disk: the screen gets its line all the same."""
    try:
        print(text, flush=True)
    except OSError:
        # What could not be written must not fail again when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


# Columns of a step's line: metric, short label, format. The reward stands before them.
_COLUMNS = (
    (P, "p", "{:+.2f}"),
    (P_POSITIVE, "p of A>0", "{:+.2f}"),
    (P_NEGATIVE, "p of A<0", "{:+.2f}"),
    (ESS_FRAC, "ess", "{:.3f}"),
    (LOG_RATIO_MIN, "ratio min", "{:+.2f}"),
    (LOG_RATIO_MAX, "max", "{:+.2f}"),
    (GRADIENT_NORM, "grad", "{:.2f}"),
    (STEP_SECONDS, "seconds", "{:.1f}"),
)
# Shown where they are not 0.
_TROUBLE = (
    (SKIPPED_UPDATES, "skipped", "{:.0f}"),
    (NONFINITE_FRAC, "nonfinite", "{:.3f}"),
    (FAILED_PROMPTS, "failed", "{:.0f}"),
)
_SHARE = "{:.3f}"


def step_line(step: int, metrics: Mapping[str, float]) -> str:
    """One compact line: ``step 12 | reward 0.713, cut 0.125 | p +1.25 | ... | held-out 0.820``.

    ``cut`` is the share of truncated responses: beside the reward where it is above 0, beside
    held-out accuracy wherever it is known. Several held-out sets have a line of their own.
    """
    parts = [f"step {step:>4}"]
    if REWARD_MEAN in metrics:
        truncated = metrics.get(TRUNCATED_FRAC, 0.0)
        is_shown = _show(_SHARE, truncated) != _SHARE.format(0)
        parts.append(f"reward {_score(metrics[REWARD_MEAN], truncated if is_shown else None)}")
    parts += [
        f"{label} {_show(form, metrics[name])}" for name, label, form in _COLUMNS if name in metrics
    ]
    parts += [
        f"{label} {_show(form, metrics[name])}"
        for name, label, form in _TROUBLE
        if metrics.get(name, 0.0) != 0
    ]
    truncated_by_set = held_out.truncated_shares(metrics)
    games = held_out.successes(metrics)
    accuracies = held_out.accuracies(metrics)
    scores = {
        name: _score(accuracy, truncated_by_set.get(name))
        for name, accuracy in (held_out.by_type(metrics) if games else accuracies).items()
    }
    if len(games) == 1:
        parts += [f"held-out {_show(_SHARE, success)}" for success in games.values()]
    elif len(scores) == 1:
        parts += [f"held-out {score}" for score in scores.values()]
    scores = {name: _show(_SHARE, one) for name, one in games.items() if len(games) > 1} | scores
    line = " | ".join(parts)
    if len(scores) > 1:
        line += "\nheld-out   " + " | ".join(f"{name} {score}" for name, score in scores.items())
    return line


def _score(value: float, truncated: float | None) -> str:
    """A mean score, and the share of truncated responses behind it."""
    text = _show(_SHARE, value)
    return text if truncated is None else f"{text}, cut {_show(_SHARE, truncated)}"


def _show(form: str, value: float) -> str:
    return form.format(value) if math.isfinite(value) else str(float(value))


def _short(metrics: Mapping[str, float]) -> str:
    shown = ((REWARD_MEAN, "reward", _SHARE), (P, "p", "{:+.2f}"))
    return ", ".join(
        f"{label} {_show(form, metrics[name])}" for name, label, form in shown if name in metrics
    )


def essence(error: BaseException) -> str:
    """The error itself, without the remote tracebacks that Ray puts around it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 8:
        lines = lines[-3:]
    return f"{type(error).__name__}: " + " ".join(lines)
