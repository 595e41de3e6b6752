"""A user's functions that wait in the middle of a step while a file asks them to."""

import os
import time
from pathlib import Path

from holderpo.rewards.exact_match import compute_score

# Names the folder of the files; the processes of a run inherit it.
VARIABLE = "HOLDERPO_TEST_PAUSES"
SECONDS = 300.0


def pause(moment):
    """Say that the moment is there, and wait while its file is."""
    folder = Path(os.environ.get(VARIABLE, os.devnull))
    deadline = time.monotonic() + SECONDS
    while (folder / moment).exists() and time.monotonic() < deadline:
        (folder / f"{moment}.reached").touch()
        time.sleep(0.05)


def mean_ratio(log_ratio, mask, p):
    """The geometric mean, in the update of the actor."""
    pause("update")
    return (log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def score(data_source, solution_str, ground_truth, extra_info=None):
    """Exact match, while other answers are being generated."""
    pause("generation")
    return compute_score(data_source, solution_str, ground_truth, extra_info)
