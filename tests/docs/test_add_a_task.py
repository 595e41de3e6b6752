"""docs/add_a_task.md, followed to the end: its files in a folder of their own, and its commands."""

import os
import re
import runpy
import subprocess
import sys

import pyarrow.parquet as pq

from tests.docs.pages import REPOSITORY, blocks, text_of

PAGE = text_of("docs/add_a_task.md")


def test_the_task_of_the_page_is_accepted_by_the_entry_point(tmp_path, monkeypatch):
    files = dict(re.findall(r"`(\w+\.\w+)`:\n```\w+\n(.*?)```", PAGE, re.DOTALL))
    assert sorted(files) == ["kinds.yaml", "kinds_data.py", "kinds_reward.py"]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("kinds_data.py", run_name="__main__")

    (row, other) = pq.read_table("data/heldout.parquet").to_pylist()
    columns = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(row) == columns - {"ability"}, "the table of columns is what is written"
    compute_score = runpy.run_path("kinds_reward.py")["compute_score"]

    def score(row, response):
        truth = row["reward_model"]["ground_truth"]
        return compute_score(row["data_source"], response, truth, row["extra_info"], num_turns=2)

    assert score(row, "12345678") == {"score": 1.0, "acc": 1.0}
    assert score(row, "1234 ...") == {"score": 0.5, "acc": 0.0}
    assert score(other, "12345678") == {"score": 0.0, "acc": 0.0}

    lines = "".join(content for language, content in blocks(PAGE) if not language).splitlines()
    (check,) = [line for line in lines if line.endswith("check=true")]
    python, *arguments = check.split()
    assert python == "$HOLDERPO/.venv/bin/python"
    run = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "16 prompts x 8 responses" in run.stdout
    assert check.removesuffix(" check=true") in lines, "the command that trains is the same"
