"""Runs with checkpoints as they lie on a disk, without the training."""

import json
from pathlib import Path

import torch

from recipe.holderpo.checks.checkpoints import TRACKER, needed_files
from recipe.holderpo.checks.controller_state import write_controller_state
from recipe.holderpo.checks.resume import Start
from recipe.holderpo.checks.settings import make_controller
from recipe.holderpo.run.run_folder import prepare_run_folder
from tests.recipe.composing import composed


def run_config(run_dir, *overrides):
    """Of the demo, going on where it was cut off."""
    config = composed("demo", ("trainer.resume_mode=auto", *overrides))
    config.run_dir = str(run_dir)
    return config


def write_checkpoint(config, step):
    """A complete one, that no tracker file names."""
    folder = Path(config.trainer.default_local_dir) / f"global_step_{step}"
    write_controller_state(folder, step, make_controller(config).state_dict())
    for name in needed_files(config)[1:]:
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save({"position": step}, folder / name)
    return folder


def write_rows(config, steps):
    """Lines of the metrics."""
    lines = "".join(json.dumps({"step": step, "a": step}) + "\n" for step in steps)
    (Path(config.run_dir) / "metrics.jsonl").write_text(lines)


def write_run(config, checkpoints, tracker=None):
    """A run that was cut off after its last checkpoint; returns that checkpoint's folder."""
    prepare_run_folder(config, Start())
    folders = [write_checkpoint(config, step) for step in checkpoints]
    write_rows(config, range(checkpoints[-1] + 1))
    text = str(checkpoints[-1]) if tracker is None else tracker
    (folders[-1].parent / TRACKER).write_text(text)
    return folders[-1]
