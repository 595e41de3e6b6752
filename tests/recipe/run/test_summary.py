"""The summary at the end of a run."""

import json
import os

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.report import main as report
from recipe.holderpo.run.summary import HELDOUT, screen_lines, summarize
from tests.recipe.composing import composed

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


def left_behind(folder, config):
    """What a run of two steps leaves in its folder."""
    OmegaConf.save(config, folder / "config.yaml")
    rows = [row(0, columns=0.0), row(1), row(2, columns=0.5)]
    lines = [json.dumps({**values, "wall_time": 1000.0 + values["step"]}) for values in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "startup.json").write_text('{"first update done": 30.0}')
    os.utime(folder / "startup.json", (1001, 1001))


def test_the_report_of_a_run_is_made_anew_from_its_folder(config, tmp_path, capsys):
    left_behind(tmp_path, config)
    (tmp_path / "picture").mkdir()
    svg = tmp_path / "picture" / "demo.svg"
    assert report([str(tmp_path), f"--picture={svg}"]) == 0
    assert "31 s in all" in capsys.readouterr().out, "from the launch, 30 s before the first update"
    assert "<svg" in svg.read_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["accuracy_after"] == 0.5
    # A copy has other times of change; what was measured at the time is kept.
    os.utime(tmp_path / "startup.json", (9999, 9999))
    summary |= {"import_seconds": 9.5}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    first = svg.read_bytes()
    assert report([str(tmp_path), f"--picture={svg}"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert svg.read_bytes() == first, "the same run gives the same picture"


@pytest.mark.parametrize("lacks", ["config.yaml", "metrics.jsonl", "startup.json"])
def test_a_folder_of_no_run_is_named(config, tmp_path, capsys, lacks):
    left_behind(tmp_path, config)
    (tmp_path / lacks).unlink()
    assert report([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path / lacks}: not there; give the folder of a run\n"


def test_a_run_without_a_step_has_no_report(config, tmp_path, capsys):
    left_behind(tmp_path, config)
    (tmp_path / "startup.json").write_text('{"Ray up": 3.0}')
    assert report([str(tmp_path)]) == 2
    assert "no step was taken" in capsys.readouterr().err
