"""The summary at the end of a run."""

import json
import math
import re

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.report import main as report
from recipe.holderpo.run.phases import FIRST_UPDATE, LAUNCHED
from recipe.holderpo.run.summary import HELDOUT, screen_lines, summarize
from tests.recipe.composing import composed

CONFIG, METRICS, SUMMARY = "config.yaml", "metrics.jsonl", "summary.json"
TIME = {"timing_s/step": 2.0, "critic/rewards/mean": 0.25, "holder/p": 1.0}


@pytest.fixture
def config(tmp_path):
    heldout = tmp_path / "heldout"
    heldout.mkdir()
    dump = "".join(json.dumps({"input": f"problem {number}"}) + "\n" for number in range(10))
    (heldout / "2.jsonl").write_text(dump)
    demo = composed("demo")
    return OmegaConf.merge(demo, {"trainer": {"validation_data_dir": str(heldout)}})


def row(step, **accuracies):
    metrics = {f"val-core/{name}/acc/mean@1": value for name, value in accuracies.items()}
    mean = {HELDOUT: sum(accuracies.values()) / len(accuracies)} if accuracies else {}
    return {"step": step, **TIME, **metrics, **mean}


def held_out_lines(summary, tmp_path):
    lines = screen_lines(summary | {"seconds_total": 9.0}, tmp_path)
    return [line for line in lines if line.startswith("held-out")]


def test_one_set_has_its_interval(config, tmp_path):
    summary = summarize(config, [row(0, columns=0.0), row(1), row(2, columns=0.5)])
    assert (summary["accuracy_before"], summary["accuracy_after"]) == (0.0, 0.5)
    assert summary["accuracy_after_interval"] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    assert held_out_lines(summary, tmp_path) == [
        "held-out accuracy before   0.0 %  (95 % interval 0.0 to 27.8, 10 problems)",
        "held-out accuracy after   50.0 %  (95 % interval 23.7 to 76.3, 10 problems)",
    ]


def test_the_mean_of_several_sets_has_no_interval_of_one(config, tmp_path):
    summary = summarize(config, [row(1), row(2, aime24=0.25, amc=0.75)])
    assert "accuracy_after_interval" not in summary
    assert held_out_lines(summary, tmp_path) == [
        "held-out accuracy after   50.0 %  (mean of aime24 25.0, amc 75.0)"
    ]


def test_a_run_that_was_not_validated_before_has_no_accuracy_before(config):
    assert "accuracy_before" not in summarize(config, [row(1), row(2, columns=0.5)])
    assert "accuracy_after" not in summarize(config, [row(0, columns=0.5), row(1)])


def left_behind(folder, config, num_steps=2):
    """What a run of two steps leaves in its folder."""
    OmegaConf.save(
        OmegaConf.merge(config, {"trainer": {"total_training_steps": 2}}), folder / CONFIG
    )
    rows = [row(0, columns=0.0), row(1), row(2, columns=0.5)][: num_steps + 1]
    lines = [json.dumps({**values, "wall_time": 1000.0 + values["step"]}) for values in rows]
    (folder / METRICS).write_text("\n".join(lines) + "\n")
    started = {LAUNCHED: 971.0, FIRST_UPDATE: 30.0}
    (folder / "startup.json").write_text(json.dumps(started))


def test_the_report_of_a_run_is_made_anew_from_its_folder(config, tmp_path, capsys):
    left_behind(tmp_path, config)
    (tmp_path / "picture").mkdir()
    svg = tmp_path / "picture" / "demo.svg"
    assert report([str(tmp_path), f"--picture={svg}"]) == 0
    assert "31 s in all" in capsys.readouterr().out
    assert "<svg" in svg.read_text()
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert summary["accuracy_after"] == 0.5
    assert summary["seconds_to_first_step"] == 30.0
    # What was measured at the time is kept.
    summary |= {"import_seconds": 9.5}
    (tmp_path / SUMMARY).write_text(json.dumps(summary))
    first = svg.read_bytes()
    assert report([str(tmp_path), f"--picture={svg}"]) == 0
    assert json.loads((tmp_path / SUMMARY).read_text()) == summary
    assert svg.read_bytes() == first, "the same run gives the same picture"


def test_an_unfinished_run_gets_a_picture_and_no_summary(config, tmp_path, capsys):
    left_behind(tmp_path, config, num_steps=1)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 2, "critic/rew')
    assert report([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "unfinished        1 of 2 steps, no summary.json" in shown
    assert "line 3 of 3 is cut off or broken" in shown
    assert (tmp_path / "report.png").exists()
    assert not (tmp_path / SUMMARY).exists(), "by it a run is known to be finished"


@pytest.mark.parametrize(
    "started",
    [
        None,
        "",
        json.dumps({LAUNCHED: 971.0, "Ray up": 3.0}),
        json.dumps({LAUNCHED: 5000.0, FIRST_UPDATE: 3.0}),
    ],
    ids=["missing", "empty", "of a launch that failed", "later than the last step"],
)
def test_a_run_of_unknown_start_has_a_report_without_times(config, tmp_path, capsys, started):
    left_behind(tmp_path, config)
    (tmp_path / "startup.json").unlink()
    if started is not None:
        (tmp_path / "startup.json").write_text(started)
    assert report([str(tmp_path)]) == 0
    assert "in all" not in capsys.readouterr().out
    assert not {"seconds_total", "seconds_to_first_step"} & set(
        json.loads((tmp_path / SUMMARY).read_text())
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONFIG, None, "no config.yaml or no metrics.jsonl; give a run's folder"),
        (METRICS, None, "no config.yaml or no metrics.jsonl; give a run's folder"),
        (CONFIG, "a: [", "config.yaml: not that of a run (.*cannot be read"),
        (CONFIG, "- 1", "config.yaml: not that of a run (.*not a mapping"),
        (CONFIG, "seed: 1", "config.yaml: not that of a run"),
        (METRICS, '{"step": 0}', "no step was taken, nothing to report"),
    ],
)
def test_a_folder_of_no_run_is_named(config, tmp_path, capsys, name, content, message):
    left_behind(tmp_path, config)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    assert report([str(tmp_path)]) == 2
    assert re.search(message.replace("(", r"\("), capsys.readouterr().err)


@pytest.mark.parametrize("picture", ["picture", "picture.jpg", "nowhere/picture.svg"])
def test_a_picture_that_cannot_be_written_is_named(config, tmp_path, capsys, picture):
    left_behind(tmp_path, config)
    try:
        status = report([str(tmp_path), f"--picture={tmp_path}/{picture}"])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert picture in capsys.readouterr().err


def test_the_truncated_share_stands_beside_each_accuracy_and_the_reward(config, tmp_path):
    cut = {"val-aux/columns/truncated/mean@1": 0.125}
    first, last = ({"reward/truncated_frac": share} for share in (0.5, 0.25))
    summary = summarize(config, [row(1, columns=0.25) | first, row(2, columns=0.5) | cut | last])
    assert summary["truncated_after_by_set"] == {"columns": 0.125}
    assert held_out_lines(summary, tmp_path) == [
        "held-out accuracy after   50.0 %  "
        "(95 % interval 23.7 to 76.3, 10 problems, truncated 12.5 %)",
    ]
    assert "sampled reward    0.250 -> 0.250  (truncated 50.0 -> 25.0 %)" in screen_lines(
        summary, tmp_path
    )


def test_the_truncated_share_of_several_sets_stands_beside_each(config, tmp_path):
    cut = {"val-aux/amc/truncated/mean@1": 0.5}
    summary = summarize(config, [row(1), row(2, aime24=0.25, amc=0.75) | cut])
    assert held_out_lines(summary, tmp_path) == [
        "held-out accuracy after   50.0 %  (mean of aime24 25.0, amc 75.0 (truncated 50.0 %))"
    ]


def test_what_is_not_finite_is_named_and_breaks_neither_summary_nor_picture(
    config, tmp_path, capsys
):
    left_behind(tmp_path, config)
    lines = (tmp_path / METRICS).read_text().splitlines()
    last = json.loads(lines[-1])
    wrong = dict.fromkeys(["actor/a", "actor/b", "actor/c", "timing_s/step", "holder/p"], "nan")
    wrong |= {"critic/rewards/mean": "inf", "val-core/columns/acc/mean@1": "nan"}
    (tmp_path / METRICS).write_text("\n".join([*lines[:-1], json.dumps(last | wrong)]) + "\n")
    svg = tmp_path / "report.svg"
    assert report([str(tmp_path), f"--picture={svg}"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "not finite" in line]
    assert shown == [
        "not finite        critic/rewards/mean in step 2, left out",
        "not finite        holder/p in step 2, left out",
        "not finite        timing_s/step in step 2, left out",
        "not finite        val-core/columns/acc/mean@1 in step 2, left out",
        "not finite        3 more metrics: see metrics.jsonl",
    ]
    text = (tmp_path / SUMMARY).read_text()
    summary = json.loads(text, parse_constant=pytest.fail)
    assert summary["not_finite"] == dict.fromkeys(wrong, "2")
    assert (summary["seconds_per_step_median"], summary["reward_last"]) == (2.0, 0.25)
    assert "accuracy_after" not in summary
    # In the diagrams of accuracy and order.
    assert svg.read_text().count("not finite") == 2


def test_metrics_that_are_missing_in_a_step_are_passed_over(config):
    summary = summarize(config, [row(1), {"step": 2}, {**row(3), "holder/p": math.nan}])
    assert (summary["steps"], summary["p_last"], summary["reward_last"]) == (3, 1.0, 0.25)


@pytest.fixture
def game_config(tmp_path):
    """Of a run on games, with a validation of eight of them that took three turns each."""
    heldout = tmp_path / "heldout"
    heldout.mkdir()
    lines = [
        json.dumps({"input": f"turn {turn} of {game}", "gts": f"valid_seen/{game}"}) + "\n"
        for game in range(8)
        for turn in range(3)
    ]
    (heldout / "2.jsonl").write_text("".join(lines))
    smoke = composed("alfworld_smoke")
    return OmegaConf.merge(smoke, {"trainer": {"validation_data_dir": str(heldout)}})


def games_row(step, success, **by_type):
    of_types = {f"val-core/alfworld_valid_seen/{k}/acc/mean@1": v for k, v in by_type.items()}
    all_games = {"val/alfworld_valid_seen/success": success}
    played = {"env/step_count": 50.0, "episode/success_frac": 0.25} if step else {}
    return {"step": step, **TIME, **of_types, **all_games, **played, HELDOUT: success}


def test_games_have_their_success_in_all_and_by_task_type(game_config, tmp_path):
    rows = [games_row(0, 0.25, pick=0.0, heat=0.5), games_row(2, 0.5, pick=1.0, heat=0.25)]
    summary = summarize(game_config, rows)
    assert (summary["success_before"], summary["success_after"]) == (0.25, 0.5)
    assert summary["success_after_by_type"] == {"pick": 1.0, "heat": 0.25}
    assert summary["success_after_interval"] == pytest.approx([0.2152, 0.7848], abs=1e-4)
    assert summary["num_heldout"] == 8, "games, not turns"
    assert summary["steps_per_second"] == 25.0
    assert (summary["sampled_success_last"], summary["seed"]) == (0.25, 0)
    assert not {"accuracy_before", "updates_per_step"} & summary.keys()
    assert held_out_lines(summary, tmp_path) == [
        "held-out success  before  25.0 %  (95 % interval 7.1 to 59.1, 8 games, pick 0.0, "
        "heat 50.0)",
        "held-out success  after   50.0 %  (95 % interval 21.5 to 78.5, 8 games, pick 100.0, "
        "heat 25.0)",
    ]


def test_a_run_on_games_has_a_report(game_config, tmp_path):
    left_behind(tmp_path, game_config)
    rows = [games_row(0, 0.25, pick=0.0, heat=0.5), games_row(2, 0.5, pick=1.0, heat=0.25)]
    lines = [json.dumps({k: v for k, v in row.items() if k != HELDOUT}) for row in rows]
    (tmp_path / METRICS).write_text("\n".join(lines) + "\n")
    assert report([str(tmp_path)]) == 0
    assert json.loads((tmp_path / SUMMARY).read_text())["success_after"] == 0.5
    assert (tmp_path / "report.png").exists()
