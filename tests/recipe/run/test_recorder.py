"""metrics.jsonl across crashes and resumes, and what the console shows."""

import json
import math

import numpy as np
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
    data = {"x": 1, "text": "no number"}
    logger.log(data=data, step=3)
    assert tracking.logged == [(3, data)]
    assert shown == [(3, {"x": 1.0})]
    assert json.loads(file.path.read_text())["x"] == 1.0
    assert in_file == [(3, 1, 0)], "told once the line is there, before the screen is"


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def test_what_is_not_finite_keeps_its_name_in_strict_json_and_is_read_back(tmp_path):
    tracking, shown = Tracking(), []
    file = MetricsFile(tmp_path / "metrics.jsonl")
    logger = RunLogger(
        tracking, file, lambda step, metrics: shown.append(metrics), lambda step: None
    )
    data = {"a": math.nan, "b": np.float32("inf"), "c": -math.inf, "d": np.float64(0.5), "e": "nan"}
    logger.log(data=data, step=3)
    assert tracking.logged == [(3, data)], "verl's loggers get what they got"
    line = json.loads(file.path.read_text(), parse_constant=refuse)
    assert [line[name] for name in "abcd"] == ["nan", "inf", "-inf", 0.5]
    assert "e" not in line, "a text of verl's is no number"
    (row,) = read_rows(file.path, [])
    assert math.isnan(row["a"])
    assert (row["b"], row["c"], row["d"]) == (math.inf, -math.inf, 0.5)
    assert list(shown[0]) == list("abcd")


def test_other_texts_in_a_line_are_no_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": "nan", "b": "NaN", "c": "0.5", "d": "infinity", "e": NaN}\n')
    (row,) = read_rows(path, [])
    assert sorted(row) == ["a", "e", "step"]


def test_a_resumed_run_keeps_lines_with_values_that_are_not_finite(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(3):
        file.append(step, {"a": math.nan})
    file.drop_after(1)
    assert [row["step"] for row in read_rows(file.path, [])] == [0, 1]


HELD_OUT, TRUNCATED = "val-core/{}/acc/mean@4", "val-aux/{}/truncated/mean@4"


def test_the_truncated_share_stands_beside_the_reward_and_held_out_accuracy():
    metrics = {
        "critic/rewards/mean": 0.5,
        "reward/truncated_frac": 0.125,
        "holder/p": 1.0,
        HELD_OUT.format("a/b"): 0.25,
        TRUNCATED.format("a/b"): 0.0,
    }
    assert step_line(7, metrics) == (
        "step    7 | reward 0.500, cut 0.125 | p +1.00 | held-out 0.250, cut 0.000"
    )
    # Not worth the width while there is nothing to see.
    assert "cut" not in step_line(7, {"critic/rewards/mean": 1, "reward/truncated_frac": 0.0004})


def test_several_held_out_sets_have_a_line_of_their_own_with_their_names():
    metrics = {
        "critic/rewards/mean": 0.5,
        HELD_OUT.format("aime24"): 0.25,
        HELD_OUT.format("amc"): 0.5,
        TRUNCATED.format("amc"): 0.75,
    }
    assert step_line(7, metrics).splitlines() == [
        "step    7 | reward 0.500",
        "held-out   aime24 0.250 | amc 0.500, cut 0.750",
    ]


def test_games_show_their_success_and_that_of_each_type():
    metrics = {
        "critic/rewards/mean": 2.5,
        "val/alfworld_valid_seen/success": 0.4,
        HELD_OUT.format("alfworld_valid_seen/pick"): 0.25,
        HELD_OUT.format("alfworld_valid_seen/heat"): 0.5,
    }
    assert step_line(7, metrics).splitlines() == [
        "step    7 | reward 2.500 | held-out 0.400",
        "held-out   pick 0.250 | heat 0.500",
    ]
    metrics["val/alfworld_valid_unseen/success"] = 0.75
    metrics[HELD_OUT.format("alfworld_valid_unseen/pick")] = 0.75
    assert step_line(7, metrics).splitlines() == [
        "step    7 | reward 2.500",
        "held-out   alfworld_valid_seen 0.400 | alfworld_valid_unseen 0.750 | "
        "alfworld_valid_seen/pick 0.250 | alfworld_valid_seen/heat 0.500 | "
        "alfworld_valid_unseen/pick 0.750",
    ]


def test_trouble_is_in_the_step_line_and_only_then():
    fine = {"critic/rewards/mean": 0.5, "actor/skipped_updates": 0.0, "holder/nonfinite_frac": 0.0}
    assert step_line(7, fine) == "step    7 | reward 0.500"
    bad = {
        "critic/rewards/mean": math.nan,
        "holder/p": math.nan,
        "actor/grad_norm": math.inf,
        "actor/skipped_updates": 2.0,
        "holder/nonfinite_frac": 0.25,
        "rollout/failed_prompts": 3.0,
        "reward/truncated_frac": math.nan,
    }
    assert step_line(7, bad) == (
        "step    7 | reward nan, cut nan | p nan | grad inf | skipped 2 | nonfinite 0.250 "
        "| failed 3"
    )


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
