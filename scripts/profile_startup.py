"""Where the start of a run goes: phases of the driver, and seconds of CPU by process.

    python scripts/profile_startup.py [--config demo] [Hydra overrides]

launches an experiment for one step, watches its processes until the first update is done, and
prints a table. Times are seconds since launch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from recipe.holderpo.run.phases import FIRST_UPDATE, LAUNCHED, PHASES_FILE

RUN_DIR = Path("outputs/profile_startup")
POLL_SECONDS = 0.25


def main() -> None:
    """Launch, watch, print."""
    command = run_command()
    # The phases of an earlier run would end the watch at once.
    shutil.rmtree(RUN_DIR, ignore_errors=True)
    began = time.time()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        processes = watch(psutil.Process(run.pid), began)
        if run.wait() != 0:
            sys.exit(f"the run failed with status {run.returncode}, see {RUN_DIR}/run.log")
    phases = json.loads((RUN_DIR / PHASES_FILE).read_text())
    print("phase ends at")
    del phases[LAUNCHED]
    for phase, seconds in phases.items():
        print(f"  {seconds:6.1f} s  {phase}")
    print("process: first seen, CPU seconds and resident memory when the first update was done")
    for name, first_seen, cpu, memory in sorted(processes, key=lambda row: row[1]):
        print(f"  {first_seen:6.1f} s  {cpu:6.1f} s CPU  {memory / 2**20:6.0f} MiB  {name}")
    total_cpu = sum(row[2] for row in processes)
    total_memory = sum(row[3] for row in processes) / 2**30
    print(
        f"total {total_cpu:.0f} s of CPU, {total_memory:.1f} GiB (shared pages counted each time)"
    )


def run_command(command_line: Sequence[str] | None = None) -> list[str]:
    """The run to launch, from this program's command line.

    Args:
        command_line: by default the program's own.
    """
    parser = argparse.ArgumentParser(
        description="Phases of a run's start, and seconds of CPU and memory by process."
    )
    parser.add_argument(
        "--config", default="demo", help="experiment in configs/ (default: %(default)s)"
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of the run")
    arguments = parser.parse_args(command_line)
    return [
        *[sys.executable, "-m", "recipe.holderpo.main", f"--config-name={arguments.config}"],
        *["trainer.total_training_steps=1", "trainer.val_before_train=false"],
        *["trainer.test_freq=-1", "trainer.save_freq=-1", "report.measure_import=false"],
        *arguments.overrides,
        f"run_dir={RUN_DIR}",
    ]


def watch(parent: psutil.Process, began: float) -> list[tuple[str, float, float, float]]:
    """Name, first sight, CPU seconds and memory of each process of the run."""
    seen: dict[int, tuple[str, float, float, float]] = {}
    while True:
        for process in [parent, *parent.children(recursive=True)]:
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info().rss
                    name = " ".join(process.cmdline())[:60] or process.name()
            except psutil.Error:
                continue
            first_seen = seen[process.pid][1] if process.pid in seen else time.time() - began
            seen[process.pid] = (name, first_seen, times.user + times.system, memory)
        if parent.status() == psutil.STATUS_ZOMBIE or first_update_done():
            return list(seen.values())
        time.sleep(POLL_SECONDS)


def first_update_done() -> bool:
    """Whether the run has noted its first update."""
    path = RUN_DIR / PHASES_FILE
    return path.exists() and FIRST_UPDATE in path.read_text()


if __name__ == "__main__":
    main()
