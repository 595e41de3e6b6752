"""The command that makes tables and pictures of results."""

import json
from dataclasses import asdict, replace

import pytest

from holderpo.lab.__main__ import main
from holderpo.lab.lab_pictures import main_arms
from holderpo.lab.planned_runs import match
from holderpo.studies.arms import Bootstrap, CollapseRule
from tests.holderpo.lab.lab_results import PART, PROTOCOL, again, plan_of, result_of, results_of

PAIRS = [(seed, model) for seed in range(3) for model in range(2)]
AUCS = {
    "static0": dict.fromkeys(PAIRS, 0.5),
    "static2": dict.fromkeys(PAIRS, 0.25),
    "linear": dict(zip(PAIRS, (0.5, 0.625, 0.75, 0.5, 0.375, 1.0), strict=True)),
    "grpo": dict.fromkeys(PAIRS[:5], 0.375),
}
LATER = """
  later:
    what: more
    arms: [linear, grpo]
    regimes: [stressed]
    seeds: [0]
"""


@pytest.fixture
def report(tmp_path, capsys):
    """Make a report of some results; gives exit status, tables and what the screen says."""

    def make(results, parts=PART + LATER, *, name="out"):
        protocol, path = tmp_path / "protocol.yaml", tmp_path / "results.jsonl"
        protocol.write_text(PROTOCOL + parts)
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in results))
        out = tmp_path / name
        given = {"--protocol": protocol, "--results": path, "--out": out, "--resamples": 200}
        status = main(["report", *(str(one) for pair in given.items() for one in pair)])
        tables = out / "tables.md"
        shown = capsys.readouterr()
        return status, tables.read_text() if tables.exists() else "", shown.out + shown.err

    return make


def cells_of(text, heading):
    """Rows of the first table with this heading, by the first cell; each by heading."""
    lines = text.splitlines()
    start = next(
        number for number, line in enumerate(lines) if line.startswith("|") and heading in line
    )
    headings = [cell.strip() for cell in lines[start].strip("|").split("|")]
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = dict(zip(headings, cells, strict=True))
    return rows


def test_tables_have_the_numbers_of_the_runs(report, tmp_path):
    plan = plan_of(tmp_path, PART + LATER)
    status, text, shown = report(results_of(plan, AUCS))
    assert status == 0
    arms = cells_of(text, "middle half")
    assert arms["linear"]["AUC"].startswith("0.625 (")
    # 0.5, 0.5, 0.625 and 0.75 of 0.375, 0.5, 0.5, 0.625, 0.75 and 1.
    assert arms["linear"]["middle half"] == "0.594"
    assert arms["linear"]["sd"] == "0.224"
    assert (arms["linear"]["n"], arms["grpo"]["n"]) == ("6", "5 of 6")
    assert arms["static0"]["held-out before"] == "0.250 (0.250 to 0.250)"
    assert arms["linear"]["collapsed"] == "0 of 6"
    against_static, against_grpo, apart = text.split("Against ")[1:]
    linear = cells_of(against_static, "difference in AUC")["linear"]
    assert (linear["minus"], linear["pairs"], linear["left out"]) == ("static0", "6", "none")
    assert linear["difference in AUC"].startswith("+0.125 (")
    # 0, 0.125, 0.25, 0, -0.125, 0.5: 0.75 is reached with 0.5 and 0.25 alike, 0.125 and -0.125
    # not both against them: 3 of 4, each with the zeros' 4, of both directions.
    assert linear["p"] == f"{2 * 3 * 4 / 64:.2g}"
    assert linear["better in"].startswith("0.67 (")
    assert linear["by model"] == "0: +0.042, 1: +0.208"
    grpo = cells_of(against_grpo, "difference in AUC")["linear"]
    assert (grpo["pairs"], grpo["left out"]) == ("5", "1 only linear")
    assert apart.startswith("the best static order, chosen on even seeds and compared on odd ones:")
    # 0.75 and 0.5 of seed 1.
    linear = cells_of(apart, "difference in AUC")["linear"]
    assert (linear["pairs"], linear["p"]) == ("2", "1")
    assert linear["difference in AUC"].startswith("+0.125 (")
    assert "counts" not in linear
    assert "the best static order is static0, chosen over 6 of 6 pairs" in text
    assert "Missing runs: 2.1 of grpo." in text
    # There is one clip range to choose from.
    assert "at the clip range of its highest mean" not in text
    assert (
        "p is corrected for 6 comparisons with the best static order or token-clipped GRPO. **No "
        "difference can count there**: of 6 pairs p is at least 0.031, corrected 0.19." in text
    )
    assert "Made with: torch 2, commit abc (23 runs)." in text
    assert "part orders: 1 of 24 runs missing" in shown


def test_settings_are_counted_in_which_a_difference_counts(report, tmp_path):
    part = """
  orders:
    what: which order
    arms: [static0, static2, linear, grpo]
    regimes: [middle, stressed]
    clip_ranges: [0.05, 0.2]
    seeds: [0, 1, 2, 3, 4, 5, 6, 7]
    model_seeds: [0, 1]
"""
    plan = plan_of(tmp_path, part)
    pairs = [(seed, model) for seed in range(8) for model in range(2)]

    def results(regime, **means):
        aucs = {
            name.replace("_", "@0."): dict.fromkeys(pairs, mean) for name, mean in means.items()
        }
        return results_of(plan, aucs, regime=regime)

    given = [
        *results("middle", static0_05=0.5, static2_05=0.25, linear_05=0.75, grpo_05=0.5),
        *results("middle", static0_2=0.5, static2_2=0.5, linear_2=0.25, grpo_2=0.25),
        *results("stressed", static0_05=0.5, static2_05=0.5, linear_05=0.75),
        *results("stressed", static0_2=0.5, linear_2=0.5),
    ]
    _, text, _ = report(given, part)
    # 2 / 2^16 times 24 is small enough.
    assert "p is corrected for 18 comparisons with" in text
    assert "can count there" not in text
    table = text.split("settings above")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {(arm, kind): [int(cell) for cell in counts] for arm, kind, *counts in rows} == {
        # Above, below, neither, and lacking runs.
        ("static2", "the best static order"): [0, 1, 2, 1],
        ("linear", "the best static order"): [2, 1, 1, 0],
        ("grpo", "the best static order"): [0, 1, 1, 2],
        ("static0", "token-clipped GRPO"): [1, 0, 1, 0],
        ("static2", "token-clipped GRPO"): [1, 1, 0, 0],
        ("linear", "token-clipped GRPO"): [1, 0, 1, 0],
        ("any static order", "the best static order"): [0, 1, 2, 1],
    }


def test_what_is_not_run_is_said(report, tmp_path):
    plan = plan_of(tmp_path, PART + LATER)
    _, text, shown = report(results_of(plan, AUCS))
    summary = cells_of(text, "planned runs")
    assert summary["orders"] == {
        **{"part": "orders", "planned runs": "24", "there": "23", "missing": "1"},
        **{"hours": "0.23", "": "unfinished"},
    }
    assert summary["later"][""] == "not run"
    assert "## Part later: more\n\nNot run: 2 runs are planned." in text
    assert "part later: 2 of 2 runs missing" in shown


def test_pairs_that_every_arm_lacks_are_named_once(report, tmp_path):
    plan = plan_of(tmp_path)
    aucs = {name: {(0, 0): 0.5} for name in AUCS} | {"grpo": {(0, 0): 0.5, (2, 1): 0.5}}
    _, text, _ = report(results_of(plan, aucs), PART)
    assert (
        "Missing runs: 0.1, 1.0, 1.1, 2.0, 2.1 of static0, static2, linear; "
        "0.1, 1.0, 1.1, 2.0 of grpo." in text
    )
    _, text, _ = report(results_of(plan, {name: {(0, 0): 0.5} for name in AUCS}), PART)
    assert "Missing runs: 0.1, 1.0, 1.1, 2.0, 2.1 of every arm." in text


def test_collapse_and_lower_ends_are_counted(report, tmp_path):
    plan = plan_of(tmp_path)
    cells = [cell for cell in plan.parts["orders"] if cell.arm.name == "linear"]
    rewards = [
        [0.25] * 8 + [0.75] * 8 + [0.3] * 8,  # collapsed, and above its start
        [0.5] * 8 + [0.75] * 8 + [0.4] * 8,  # below its start only
        [0.75] * 8 + [0.5] * 8 + [0.25] * 8,  # both
    ]
    results = [result_of(cell, one) for cell, one in zip(cells, rewards, strict=False)]
    _, text, _ = report(results, PART)
    row = cells_of(text, "middle half")["linear"]
    assert (row["collapsed"], row["ended lower"]) == ("2 of 3", "2 of 3")
    assert "below 0.5 times its best mean over 8 consecutive steps" in text


def test_tails_stand_by_the_sign_of_the_advantage(report, tmp_path):
    plan = plan_of(tmp_path)
    cells = plan.parts["orders"]
    more = {"log_ratio_min_negative": -2.0, "log_ratio_max_positive": 0.5}
    results = [
        result_of(cells[0], [0.5] * 16, **more),
        # Rounds without any such response leave nothing to average.
        result_of(cells[4], [0.5] * 16, log_ratio_min_negative=float("nan")),
    ]
    _, text, _ = report(results, PART)
    row = next(
        line for line in text.splitlines() if line.startswith("| static0") and "-2.0" in line
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "0.250"
    assert cells[7:12] == ["-", "-", "-", "-", "+0.500 (1 of 2 runs)"]
    assert cells[13] == "-2.000 (1 of 2 runs)"


def test_exact_repeats_and_runs_of_no_plan_are_told(report, tmp_path):
    plan = plan_of(tmp_path)
    results = results_of(plan, AUCS)
    second = again(results[0], [0.5] * 15 + [0.75])
    other = replace(results[0], digest="0" * 16, arm="older")
    _, text, shown = report([*results, second, other], PART)
    assert "Exact repeats: 1, " in text
    assert "AUC differs by at most 0.0156, the reward of a round by at most 0.2500" in text
    assert "no such run: orders, middle, older (1)." in text
    assert "no such run: orders, middle, older (1)." in shown


def test_pictures_are_written_and_shown(report, tmp_path):
    plan = plan_of(tmp_path)
    _, text, _ = report(results_of(plan, AUCS), PART)
    pictures = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    assert pictures == {
        *("orders_middle_learning.svg", "orders_middle_arms.svg"),
        "orders_middle_entropy_and_gradient.svg",
    }
    for name in pictures:
        assert f"](pictures/{name})" in text
    drawn = (tmp_path / "out" / "pictures" / "orders_middle_entropy_and_gradient.svg").read_text()
    assert "static0 (n = 6)" in drawn
    assert "linear" not in drawn
    assert (
        "grpo (n = 5), baseline"
        in (tmp_path / "out" / "pictures" / "orders_middle_learning.svg").read_text()
    )


def test_the_same_results_give_the_same_files(report, tmp_path):
    plan = plan_of(tmp_path)
    results = results_of(plan, AUCS)
    report(results, PART, name="one")
    report(results, PART, name="two")
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in folder.rglob("*.*")}
        for name in ("one", "two")
        for folder in [tmp_path / name]
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 4


def test_a_part_of_one_clip_range_and_one_run_has_a_report(report, tmp_path):
    part = PART.replace("seeds: [0, 1, 2]", "seeds: [0]\n    clip_ranges: [0.05, 0.2]")
    plan = plan_of(tmp_path, part)
    _, text, _ = report(results_of(plan, {"static0@0.2": {(0, 0): 0.5}}), part)
    assert cells_of(text, "middle half")["static0@0.2"]["AUC"] == "0.500"
    assert "clip range 0.05: nothing to compare with yet" in text
    best = cells_of(text, "difference from static0@0.2")
    assert best["static0@0.2"]["difference from static0@0.2"] == "the reference"


def test_references_of_another_part_are_said_to_be(report, tmp_path):
    later = LATER.replace("[linear, grpo]", "[linear_4, grpo]").replace("stressed", "middle")
    plan = plan_of(tmp_path, PART + later)
    results = results_of(plan, AUCS) + results_of(plan, {"linear_4": {(0, 0): 0.75}}, "later")
    _, text, _ = report(results, PART + later)
    said = text.split("### later, middle")[1]
    assert "is static0, chosen over 1 of 1 pairs, of another part with this regime" in said
    assert "- token-clipped GRPO is grpo\n" in said


def test_a_run_of_two_parts_is_made_once(report, tmp_path):
    parts = PART + PART.replace("orders:", "again:")
    _, text, _ = report(results_of(plan_of(tmp_path, parts), AUCS), parts)
    assert "Made with: torch 2, commit abc (23 runs)." in text
    assert cells_of(text, "planned runs")["again"]["there"] == "23"


def test_arms_at_their_best_clip_range(report, tmp_path):
    part = PART.replace("seeds: [0, 1, 2]", "seeds: [0, 1]\n    clip_ranges: [0.05, 0.2]")
    pairs = PAIRS[:4]
    means = {"static0@0.05": 0.75, "static0@0.2": 0.25, "linear@0.05": 0.25, "linear@0.2": 0.5}
    plan = plan_of(tmp_path, part)
    aucs = {name: dict.fromkeys(pairs, value) for name, value in means.items()}
    _, text, _ = report(results_of(plan, aucs), part)
    best = cells_of(text, "difference from static0@0.05")
    assert list(best) == ["static0@0.05", "linear@0.2"]
    assert best["linear@0.2"]["difference from static0@0.05"] == "-0.250 (-0.250 to -0.250)"


def test_intervals_are_made_of_as_many_resamples_as_asked_for(report, tmp_path):
    _, text, _ = report(results_of(plan_of(tmp_path), AUCS), PART)
    assert "percentiles of 200 bootstrap resamples" in text


def test_main_arms_are_drawn_together_where_all_are_planned(tmp_path):
    arms = "arms: [static0, static2, linear, shuffled, sign_matched, grpo]"
    part = PART.replace("arms: [static0, static2, linear, grpo]", arms)
    plan = plan_of(tmp_path, part)
    aucs = {name: {(0, 0): 0.25} for name in ("static0", "linear", "shuffled", "grpo")}
    aucs["static2"] = {(0, 0): 0.5}
    settings = {"bootstrap": Bootstrap(200), "rule": CollapseRule()}
    (runs,) = match(plan, results_of(plan, aucs), **settings).parts["orders"]
    # The sign-matched order has no run yet.
    assert [arm.name for arm in main_arms(runs, "")] == ["static2", "linear", "grpo"]
    (others,) = match(plan_of(tmp_path), results_of(plan, aucs), **settings).parts["orders"]
    assert [arm.name for arm in main_arms(others, "")] == ["static0", "static2", "linear", "grpo"]


@pytest.mark.parametrize("kind", ["results", "out", "line", "resamples"])
def test_mistakes_are_one_line(tmp_path, capsys, kind):
    protocol, results, out = (tmp_path / name for name in ("protocol.yaml", "results.jsonl", "out"))
    protocol.write_text(PROTOCOL + PART)
    if kind != "results":
        results.write_text("{}\n" if kind == "line" else "")
    if kind == "out":
        out.write_text("a file")
    options = ["--protocol", str(protocol), "--results", str(results), "--out", str(out)]
    options += ["--resamples", "5" if kind == "resamples" else "100"]
    assert main(["report", *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert {
        "results": "--results: ",
        "out": "--out: ",
        "resamples": "--resamples: 5; give at least 100",
        "line": f"{results}:1: no result of a run",
    }[kind] in said
