"""Many runs side by side, each in a process of one thread; what is finished is not run again."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from holderpo.lab.cell_results import append_line, read_cells, result_of_cell
from holderpo.lab.settings import Cell
from holderpo.lab.task import build_task
from holderpo.lab.training import RunRecord, run_cell
from holderpo.records_folder import remove_cut_off_line

_REPOSITORY = Path(__file__).parents[2]


def run_cells(
    part: str,
    cells: Sequence[Cell],
    *,
    out: Path,
    models: Path,
    num_processes: int,
    device: str = "cpu",
) -> int:
    """Run what is not yet in the file of results.

    Args:
        part: of the protocol, for the results.
        cells: in the order in which they are begun.
        out: JSON Lines of results, which grows.
        models: folder of the models to start from.
        num_processes: runs at once.
        device: of torch.

    Returns:
        Number of runs that were made.
    """
    remove_cut_off_line(out)
    done = {result.digest for result in read_cells(out)}
    left = [cell for cell in cells if cell.digest not in done]
    _make_models(left, models)
    versions = installed()
    bar = tqdm(total=len(cells), initial=len(cells) - len(left), desc=f"part {part}", unit="run")
    # Not forked: torch's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(num_processes, context, _one_thread) as pool:
        running = {pool.submit(run_cell, cell, models, device=device): cell for cell in left}
        try:
            for job in as_completed(running):
                record: RunRecord = job.result()
                append_line(out, result_of_cell(running[job], part, record, versions))
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(left)


def installed() -> dict[str, str]:
    """Versions of what computes, and the commit of this code where there is one."""
    found = {name: version(name) for name in ("torch", "transformers")}
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return {**found, "commit": asked.stdout.strip() or "unknown"}


def _make_models(cells: Sequence[Cell], models: Path) -> None:
    """Before the processes, which would each make them."""
    made = set()
    for cell in cells:
        if (key := (str(cell.task), cell.model_seed)) not in made:
            made.add(key)
            build_task(cell.task).ensure_model(models, cell.model_seed)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
