"""Launchers without what they launch."""

import os
import shutil
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def launched(script, folder, *arguments, **environment):
    """What a launcher calls Python with, a line a call; ``folder`` stands for the repository."""
    (folder / "scripts").mkdir(exist_ok=True)
    shutil.copy(SCRIPTS / script, folder / "scripts")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text('#!/bin/sh\necho "$*"\n')
    python.chmod(0o755)
    command = ["bash", folder / "scripts" / script, *arguments]
    run = subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    )
    return run.stdout.splitlines()
