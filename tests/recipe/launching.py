"""Launchers without what they launch."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def write_python(path):
    """An interpreter that has every package and prints what it is called with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$*"\n')
    path.chmod(0o755)


def run_launcher(script, folder, *arguments, **environment):
    """A launcher in ``folder``, which stands for the checkout; returns the finished process."""
    (folder / "scripts").mkdir(exist_ok=True)
    for path in REPOSITORY.glob("scripts/*.sh"):
        shutil.copy(path, folder / "scripts")
    shutil.copytree(REPOSITORY / "configs", folder / "configs", dirs_exist_ok=True)
    own = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        [shutil.which("bash"), folder / "scripts" / script, *arguments],
        env=own | environment,
        capture_output=True,
        text=True,
    )


def launched(script, folder, *arguments, **environment):
    """What a launcher calls the checkout's Python with, a line per call."""
    write_python(folder / ".venv/bin/python")
    run = run_launcher(script, folder, *arguments, **environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()
