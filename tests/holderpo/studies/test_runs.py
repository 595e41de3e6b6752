"""Run folders and results files, whole and damaged."""

import json
import math
import multiprocessing
from importlib.metadata import version

import pytest

from holderpo.studies import held_out
from holderpo.studies.results import append_result, installed_versions, read_results
from holderpo.studies.run_files import find_runs, lookup, name_steps
from holderpo.studies.runs import RunError, arm_of, differing_settings, read_run
from holderpo.studies.windows import (
    ALL,
    Window,
    best_before_last,
    parse_window,
    window_mean,
)
from tests.holderpo.studies.run_folders import HELD_OUT, REWARD, rewards_of, write_run


def test_finished_run_is_read_from_its_folder(tmp_path):
    run = read_run(write_run(tmp_path / "a", [0.1, 0.2, 0.6], name="holder-seed4", seed=4))
    assert (run.arm, run.method, run.seed) == ("holder", "holder", 4)
    assert run.p == {"kind": "linear", "start": 2.0, "end": -2.0}
    assert run.steps == (1, 2, 3)
    assert run.values(REWARD) == (0.1, 0.2, 0.6)
    assert run.held_out() == (0.25, 0.75, 3, None)
    assert run.unfinished is None
    assert run.notes == ()


def test_sweep_file_names_the_arm(tmp_path):
    sweep = {"arm": "constant, p = 1", "method": "static", "p": [1, 1], "seed": 3}
    run = read_run(write_run(tmp_path / "a", [0.1], seed=3, sweep=sweep))
    assert (run.arm, run.method, run.p, run.seed) == ("constant, p = 1", "static", [1, 1], 3)
    assert run.notes == ()


def test_order_that_the_sweep_did_not_set_is_that_of_the_configuration(tmp_path):
    sweep = {"arm": "linear", "method": "linear", "p": None, "seed": 0}
    run = read_run(write_run(tmp_path / "a", [0.1], sweep=sweep))
    assert run.p == {"kind": "linear", "start": 2.0, "end": -2.0}


def test_seed_of_the_sweep_counts_and_a_contradiction_is_told(tmp_path):
    run = read_run(write_run(tmp_path / "a", [0.1], seed=5, sweep={"seed": 3}))
    assert (run.arm, run.seed) == ("grpo", 3)
    assert "sweep.json: seed 3 counts, config.yaml has 5" in run.notes[0]


def test_other_losses_have_no_order(tmp_path):
    folder = write_run(tmp_path / "a", [0.1])
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("loss_mode: holder", "loss_mode: vanilla"))
    run = read_run(folder)
    assert (run.method, run.p) == ("vanilla", None)


def test_references_in_the_name_are_followed(tmp_path):
    folder = write_run(tmp_path / "a", [0.1], name="columns_seed${seed}", seed=7)
    assert read_run(folder).arm == "columns"
    config = {"a": "${b.c}", "b": {"c": "${d}-x"}, "d": 3, "loop": "${loop}", "f": "${oc.env:HOME}"}
    assert lookup(config, "a") == "3-x"
    assert lookup(config, "loop") is None
    assert lookup(config, "f") is None
    assert lookup(config, "b.nothing") is None


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("grpo_seed3", "grpo"),
        ("grpo-seed12", "grpo"),
        ("grpo_seed_3", "grpo"),
        ("seed3_grpo", "seed3_grpo"),
        ("grpo", "grpo"),
        ("_seed3", None),
        (None, None),
    ],
)
def test_arm_is_the_name_without_its_seed(name, arm):
    assert arm_of(name) == arm


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"finished": False}, "no summary.json, steps so far: 2"),
        ({"planned": 5}, "2 of 5 steps"),
        ({"summary": {"steps": 1}}, "summary.json is of step 1, metrics.jsonl ends at 2"),
    ],
)
def test_unfinished_runs_say_why(tmp_path, change, reason):
    assert read_run(write_run(tmp_path / "a", [0.1, 0.2], **change)).unfinished == reason


def test_broken_summary_means_unfinished(tmp_path):
    folder = write_run(tmp_path / "a", [0.1])
    (folder / "summary.json").write_text('{"steps": 1, "secon')
    run = read_run(folder)
    assert run.unfinished == "broken summary.json, steps so far: 1"
    assert f"{folder / 'summary.json'}: cannot be read" in run.notes[0]


def test_cut_off_last_line_is_left_out_and_told(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, 0.2])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "critic/rew')
    run = read_run(folder)
    assert run.values(REWARD) == (0.1, 0.2)
    assert run.notes == (f"{folder / 'metrics.jsonl'}: line 4 of 4 is cut off or broken, left out",)


def test_broken_line_in_between_leaves_a_gap_that_is_told(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, 0.2, 0.3])
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    lines[2] = '{"step": "two"}'
    metrics.write_bytes("\n".join(lines).encode() + b"\n\n\xff\xfe\n")
    run = read_run(folder)
    assert run.steps == (1, 3)
    assert run.notes == (
        f"{metrics}: line 3 of 6 is broken, left out",
        f"{metrics}: line 6 of 6 is cut off or broken, left out",
        f"{metrics}: no line for step 2",
    )


def test_step_logged_twice_has_the_later_line(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, 0.2])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 1, REWARD: 0.5}) + "\n")
    run = read_run(folder)
    assert run.values(REWARD) == (0.5, 0.2)
    assert run.notes == (
        f"{folder / 'metrics.jsonl'}: step 1 is there twice, the later line counts",
    )


def test_missing_and_infinite_values_are_named_by_step(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, float("nan"), float("inf"), 0.4])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 5}) + "\n")
    run = read_run(folder)
    assert run.values(REWARD) == (0.1, None, None, 0.4, None)
    where = folder / "metrics.jsonl"
    assert run.describe_gaps(REWARD) == [
        f"{where}: {REWARD} is not finite in 2 of 5 steps (2, 3), which are left out",
        f"{where}: {REWARD} is missing in 1 of 5 steps (5), which are left out",
    ]
    assert run.describe_gaps("nowhere") == [f"{where}: nowhere is missing in all 5 steps"]


def test_number_that_no_float_can_hold_is_not_finite(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, 0.2])
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.2", "1" + "0" * 400))
    run = read_run(folder)
    assert run.values(REWARD) == (0.1, None)
    assert "not finite in 1 of 2 steps" in run.describe_gaps(REWARD)[0]


def test_run_that_has_not_logged_yet_has_no_steps(tmp_path):
    folder = write_run(tmp_path / "a", [0.1], finished=False)
    (folder / "metrics.jsonl").unlink()
    run = read_run(folder)
    assert run.steps == ()
    assert run.unfinished == "0 of 1 steps"
    assert run.notes == (f"{folder / 'metrics.jsonl'}: not there, no step has been logged",)


def test_held_out_is_the_mean_over_sources_of_the_last_validation(tmp_path):
    folder = write_run(tmp_path / "a", [0.1, 0.2], held_out=(None, 0.5))
    metrics = folder / "metrics.jsonl"
    others = {"a/b/acc/mean@8": 0.9, "a/b/acc/best@8/mean": 1.0, "a/c/score/mean@8": 1.0}
    first, second = (json.loads(line) for line in metrics.read_text().splitlines())
    first[HELD_OUT] = 0.1
    second |= {f"val-core/{name}": value for name, value in others.items()}
    metrics.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 3, REWARD: 0.3}) + "\n")
    assert read_run(folder).held_out()[:3] == (None, pytest.approx(0.7), 2)


def held_out_row(step, **values):
    """Accuracy and truncated share by set, each missing where it is None."""
    names = ("val-core/{}/acc/mean@2", "val-aux/{}/truncated/mean@2")
    found = {
        name.format(source): value
        for source, pair in values.items()
        for name, value in zip(names, pair, strict=True)
        if value is not None
    }
    return {"step": float(step)} | found


def test_truncated_share_is_that_of_the_last_validation_and_known_of_all_sets():
    rows = [held_out_row(1, a=(0.5, 0.5)), held_out_row(2, a=(0.5, 0.25), b=(0.75, 0.75))]
    assert held_out.first_and_last(rows) == (None, 0.625, 2, 0.5)
    rows = [held_out_row(2, a=(0.5, 0.25), b=(0.75, None))]
    assert held_out.first_and_last(rows) == (None, 0.625, 2, None)
    # Some problems have lost an answer: the share of those with all of them.
    row = {"val-aux/a/truncated/mean@8": 0.5, "val-aux/a/truncated/mean@10": 0.25}
    assert held_out.truncated_shares(row) == {"a": 0.25}


def test_a_mean_over_sets_is_never_one_over_fewer_sets_in_silence():
    rows = [
        held_out_row(0, a=(math.nan, 0.0), b=(0.5, 0.0)),
        held_out_row(1, a=(0.25, 0.0), b=(0.75, 0.0)),
        held_out_row(2, a=(math.nan, 0.0), b=(0.75, 0.0)),
    ]
    assert held_out.first_and_last(rows) == (None, 0.5, 1, 0.0)
    assert held_out.describe_not_finite(rows) == "held-out accuracy is not finite in step 0, 2"
    assert held_out.describe_not_finite(rows[1:2]) is None


def test_what_is_no_run_is_refused_with_a_reason(tmp_path):
    with pytest.raises(RunError, match=r"neither metrics\.jsonl nor config\.yaml"):
        read_run(tmp_path)
    folder = write_run(tmp_path / "a", [0.1])
    (folder / "config.yaml").write_text("trainer: [")
    with pytest.raises(RunError, match=r"arm None, seed None; .*config.yaml: cannot be read"):
        read_run(folder)


def test_runs_are_found_below_a_folder(tmp_path):
    for name in ("b/one", "a", "a.1", "c.1"):
        write_run(tmp_path / name, [0.1])
    (tmp_path / "a" / "inside").mkdir()
    (tmp_path / "a" / "inside" / "config.yaml").write_text("")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("")
    folders, notes = find_runs(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in folders] == ["a", "b/one", "c.1"]
    assert len(notes) == 1
    assert notes[0].startswith(f"{tmp_path / 'a.1'}: moved aside by")


def test_settings_that_differ_are_found_but_for_seeds_and_places(tmp_path):
    first, second, third = (
        f"optim:\n  lr: {lr}\ntrain_files: data/seed_{seed}/train.parquet\n"
        for lr, seed in ((1, 0), (1, 1), (2, 1))
    )
    runs = [
        read_run(write_run(tmp_path / text, [0.1], seed=seed, settings=settings, name=f"x{seed}"))
        for text, seed, settings in (("a", 0, first), ("b", 1, second), ("c", 1, third))
    ]
    assert differing_settings(runs[:2]) == []
    assert differing_settings(runs) == ["optim.lr"]


def test_windows():
    values = [1.0, 2.0, None, 4.0, 9.0]
    assert window_mean(values, ALL) == 4.0
    assert window_mean(values, Window("first", 3)) == 1.5
    assert window_mean(values, Window("last", 2)) == 6.5
    assert window_mean(values, Window("last", 9)) == 4.0
    assert window_mean([None], ALL) is None
    # Windows of 2 before the last 2: (1, 2) and (2, None).
    assert best_before_last(values, 2) == 2.0
    assert best_before_last(values, 3) is None
    assert [parse_window(text) for text in ("all", "first:8", "last:5")] == [
        ALL,
        Window("first", 8),
        Window("last", 5),
    ]
    for text in ("last", "last:0", "first:-1", "middle:3", ""):
        with pytest.raises(ValueError, match="--steps"):
            parse_window(text)


def test_steps_are_named_in_ranges():
    assert name_steps([1, 2, 3, 7, 9, 10]) == "1 to 3, 7, 9, 10"
    assert name_steps([]) == ""


def test_result_line_has_the_numbers_of_the_run(tmp_path):
    summary = {"versions": {"verl": "0.9.1"}, "commit": "abc"}
    run = read_run(
        write_run(
            tmp_path / "a", rewards_of(0.2, 0.8, 0.5), name="x_seed2", seed=2, summary=summary
        )
    )
    path = tmp_path / "kept" / "results.jsonl"
    assert append_result(path, run, versions={"verl": "other"}, commit="other")
    entry = json.loads(path.read_text())
    assert entry.pop("config_hash") == run.config_hash
    assert entry == {
        "arm": "x",
        "method": "holder",
        "p": {"kind": "linear", "start": 2.0, "end": -2.0},
        "seed": 2,
        "steps": 24,
        "auc": pytest.approx(0.5),
        "first8": pytest.approx(0.2),
        "last8": pytest.approx(0.5),
        "best8": pytest.approx(0.8),
        "heldout_before": 0.25,
        "heldout_after": 0.75,
        "seconds": 12.5,
        "versions": {"verl": "0.9.1"},
        "commit": "abc",
        "steps_left_out": 0,
        "heldout_truncated": None,
    }
    assert [path.name for path in path.parent.iterdir()] == ["results.jsonl"]
    results, problems = read_results(path)
    assert (results[0].arm, results[0].seed, problems) == ("x", 2, [])


def test_same_run_is_recorded_once_wherever_its_folder_is(tmp_path):
    path = tmp_path / "results.jsonl"
    assert append_result(path, read_run(write_run(tmp_path / "a", [0.1, 0.2])))
    before = path.read_bytes()
    # Another place in its run_dir, and the settings in another order.
    copy = write_run(tmp_path / "copied", [0.1, 0.2])
    config = copy / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(lines[3:] + lines[:3]))
    assert not append_result(path, read_run(copy))
    assert path.read_bytes() == before
    assert append_result(path, read_run(write_run(tmp_path / "b", [0.1, 0.2], seed=1)))
    assert path.read_bytes().startswith(before)
    assert len(path.read_text().splitlines()) == 2


def test_same_settings_with_other_numbers_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, read_run(write_run(tmp_path / "a", [0.1, 0.2])))
    before = path.read_bytes()
    other = read_run(write_run(tmp_path / "b", [0.1, 0.3]))
    with pytest.raises(ValueError, match=r"seed 0\) with auc 0.15.*, this one has 0.2"):
        append_result(path, other)
    assert path.read_bytes() == before


def test_unfinished_run_is_not_recorded(tmp_path):
    run = read_run(write_run(tmp_path / "a", [0.1], finished=False))
    with pytest.raises(ValueError, match="not finished"):
        append_result(tmp_path / "results.jsonl", run)
    assert not (tmp_path / "results.jsonl").exists()


def test_run_without_configuration_is_not_recorded(tmp_path):
    folder = write_run(tmp_path / "a", [0.1], sweep={"arm": "x", "seed": 0})
    (folder / "config.yaml").unlink()
    run = read_run(folder)
    assert run.notes == (f"{folder / 'config.yaml'}: not there",)
    with pytest.raises(ValueError, match=r"no config\.yaml"):
        append_result(tmp_path / "results.jsonl", run)


def test_broken_results_file_is_not_touched(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"arm": "x", "se')
    with pytest.raises(ValueError, match=r"results.jsonl: line 1: not JSON.*repair or remove"):
        append_result(path, read_run(write_run(tmp_path / "a", [0.1])))
    assert path.read_text() == '{"arm": "x", "se'


def test_lines_that_are_no_results_are_told_by_number(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, read_run(write_run(tmp_path / "a", [0.1])))
    good = json.loads(path.read_text())
    bad = [
        *[{**good, "auc": "0.1"}, {**good, "seed": 1.5}, {"arm": "x"}, 3, {**good, "arm": None}],
        *[{**good, "config_hash": [1]}, {**good, "auc": 10**400}],
    ]
    path.write_text("\n".join(["", *(json.dumps(line) for line in [*bad, good])]))
    results, problems = read_results(path)
    assert len(results) == 1
    assert [problem.partition("line ")[2] for problem in problems[:2]] == [
        "2: auc '0.1', not a finite number",
        "3: seed 1.5, not a finite number",
    ]
    assert "line 4: without method, p, seed" in problems[2]
    assert "line 5: not a JSON object" in problems[3]
    assert "line 6: arm None, not a text" in problems[4]
    assert "line 7: config_hash [1], not a text" in problems[5]
    assert "line 8: " in problems[6]


def test_lines_without_the_later_fields_are_read(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, read_run(write_run(tmp_path / "a", [0.1])))
    entry = json.loads(path.read_text())
    del entry["steps_left_out"], entry["heldout_truncated"]
    wrong = [{**entry, "steps_left_out": None}, {**entry, "heldout_truncated": "much"}]
    path.write_text("\n".join(json.dumps(line) for line in [entry, *wrong]))
    (result,), problems = read_results(path)
    assert (result.steps_left_out, result.heldout_truncated) == (0, None)
    assert [problem.partition("line ")[2] for problem in problems] == [
        "2: steps_left_out None, not a finite number",
        "3: heldout_truncated 'much', not a finite number",
    ]


def _append(path, folder):
    append_result(path, read_run(folder))


def test_processes_append_side_by_side(tmp_path):
    path = tmp_path / "results.jsonl"
    folders = [write_run(tmp_path / f"run{seed}", [0.1], seed=seed) for seed in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_append, [(path, folder) for folder in folders * 2], chunksize=1)
    results, problems = read_results(path)
    assert sorted(result.seed for result in results) == list(range(8))
    assert problems == []


def test_versions_of_this_environment():
    assert installed_versions()["torch"] == version("torch")
