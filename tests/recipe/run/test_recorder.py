"""metrics.jsonl across crashes and resumes, and what the console shows."""

import json

import pytest

from holderpo.studies.run_files import read_rows
from recipe.holderpo.run.console import essence, step_line
from recipe.holderpo.run.recorder import MetricsFile, RunLogger


class Tracking:
    """Stands in for verl's logger: remembers what it is given."""

    def __init__(self):
        self.logged = []

    def log(self, data, step):
        self.logged.append((step, data))


def test_a_resumed_run_drops_the_steps_it_does_again(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(6):
        file.append(step, {"a": step})
    with file.path.open("a") as stream:
        stream.write('{"step": 6, "a"')  # cut off by a crash
    file.drop_after(3)
    file.append(4, {"a": 40.0})
    assert [(row["step"], row["a"]) for row in read_rows(file.path, [])] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 40.0),
    ]


def test_every_step_goes_to_verls_logger_the_file_and_the_console(tmp_path):
    tracking, shown, in_file = Tracking(), [], []
    file = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    logger = RunLogger(
        tracking,
        file,
        lambda step, metrics: shown.append((step, metrics)),
        lambda step: in_file.append((step, len(read_rows(file.path, [])), len(shown))),
    )
    data = {"x": 1, "text": "no number", "bad": float("nan")}
    logger.log(data=data, step=3)
    assert tracking.logged == [(3, data)]
    assert shown == [(3, {"x": 1.0})]
    assert json.loads(file.path.read_text())["x"] == 1.0
    assert in_file == [(3, 1, 0)], "told once the line is there, before the screen is"


def test_step_line_is_compact_and_leaves_out_what_is_missing():
    metrics = {"critic/rewards/mean": 0.5, "holder/p": -2.0, "val-core/columns/acc/mean@1": 0.25}
    assert step_line(7, metrics) == "step    7 | reward 0.500 | p -2.00 | held-out 0.250"


def test_the_error_that_matters_is_taken_out_of_rays_wrapping():
    inner = ValueError("p.start: nan; give a finite number")
    outer = RuntimeError("remote traceback " * 50)
    outer.cause = inner
    assert essence(outer) == "ValueError: p.start: nan; give a finite number"
    long = RuntimeError("\n".join(f"frame {i}" for i in range(40)) + "\nTypeError: the end")
    assert essence(long) == "RuntimeError: frame 38 frame 39 TypeError: the end"


@pytest.mark.parametrize("line", ["{}", "3", "[]", '{"step": "a"}', '{"step": null}', "\0\0\0", ""])
def test_a_broken_line_is_dropped_by_a_run_that_goes_on(line, tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append(1, {"a": 1})
    with file.path.open("a") as stream:
        stream.write(line + "\n")
    file.append(2, {"a": 2})
    file.drop_after(2)
    assert [json.loads(text)["step"] for text in file.path.read_text().splitlines()] == [1, 2]
