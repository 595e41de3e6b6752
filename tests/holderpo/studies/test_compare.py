"""Arms over seeds: spreads and differences against closed forms, and the command."""

import io
import json
import math
import statistics
from itertools import product
from unittest.mock import patch

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from holderpo.studies.arms import (
    HELD_OUT,
    HELD_OUT_TRUNCATED,
    Arm,
    Bootstrap,
    CollapseRule,
    RunNumbers,
    group_arms,
    make_spread,
    subtract,
)
from holderpo.studies.compare import main
from holderpo.studies.comparison_tables import label_arms, print_study, to_markdown
from holderpo.studies.curves import draw_curves, make_curve
from holderpo.studies.results import append_result
from holderpo.studies.runs import read_run
from holderpo.studies.study import Study, StudySettings
from tests.holderpo.studies.run_folders import HELD_OUT as HELD_OUT_METRIC
from tests.holderpo.studies.run_folders import REWARD, rewards_of, write_run

BOOTSTRAP = Bootstrap()


def numbers(arm, seed, auc=None, *, collapsed=False, curve=None):
    values = {} if auc is None else {"AUC": auc}
    return RunNumbers(f"{arm}/{seed}", arm, seed, 24, values, collapsed, curve or {})


def arm_of_values(name, by_seed):
    return group_arms([numbers(name, seed, value) for seed, value in by_seed.items()], BOOTSTRAP)[0]


def test_spread_has_mean_and_sample_deviation():
    spread = make_spread({2: 0.5, 0: 0.1, 1: 0.3}, BOOTSTRAP)
    assert spread.mean == pytest.approx(0.3)
    assert spread.sd == pytest.approx(0.2)
    assert list(spread.by_seed) == [0, 1, 2]


def test_one_seed_has_neither_deviation_nor_interval():
    assert make_spread({4: 0.3}, BOOTSTRAP) == (0.3, None, None, {4: 0.3})


@pytest.mark.parametrize("num_ones", [4, 10, 14])
def test_interval_of_shares_has_the_quantiles_of_the_binomial(num_ones):
    # Of 20 values, resampled, the sum is binomial.
    share = num_ones / 20
    chances = [math.comb(20, k) * share**k * (1 - share) ** (20 - k) for k in range(21)]
    below = [math.fsum(chances[: k + 1]) for k in range(21)]
    expected = [next(k for k in range(21) if below[k] >= level) / 20 for level in (0.025, 0.975)]
    values = {seed: float(seed < num_ones) for seed in range(20)}
    assert make_spread(values, Bootstrap(40_000)).interval == pytest.approx(expected)


def test_interval_of_four_seeds_has_the_quantiles_of_all_resamples():
    values = [0.1, 0.2, 0.4, 0.8]
    means = sorted(statistics.fmean(drawn) for drawn in product(values, repeat=4))
    expected = [means[round(level * 255)] for level in (0.025, 0.975)]
    spread = make_spread(dict(enumerate(values)), Bootstrap(40_000))
    assert spread.interval == pytest.approx(expected)


def test_interval_of_three_seeds_is_their_range():
    # All three the smallest has chance 1/27, more than 2.5 %.
    spread = make_spread({0: 0.1, 1: 0.3, 2: 0.8}, BOOTSTRAP)
    assert spread.interval == pytest.approx((0.1, 0.8))


def test_interval_is_that_of_its_seed():
    values = {seed: math.sin(seed) for seed in range(12)}
    reordered = {seed: values[seed] for seed in reversed(values)}
    first = make_spread(values, Bootstrap(500, seed=1))
    assert make_spread(reordered, Bootstrap(500, seed=1)) == first
    assert make_spread(values, Bootstrap(500, seed=2)).interval != first.interval


def test_differences_are_paired_by_seed():
    # Large differences between seeds, the same one within each: nothing is uncertain.
    arm = arm_of_values("a", {0: 0.2, 1: 0.6, 2: 0.9, 5: 0.1})
    baseline = arm_of_values("b", {2: 0.8, 1: 0.5, 0: 0.1, 7: 0.3})
    difference = subtract(arm, baseline, BOOTSTRAP)
    assert difference.paired_seeds == [0, 1, 2]
    assert (difference.only_arm, difference.only_baseline) == ([5], [7])
    spread = difference.spreads["AUC"]
    assert spread.mean == pytest.approx(0.1)
    assert spread.sd == pytest.approx(0, abs=1e-12)
    assert spread.interval == pytest.approx((0.1, 0.1))


def test_difference_without_a_common_seed_has_no_numbers():
    difference = subtract(arm_of_values("a", {0: 0.2}), arm_of_values("b", {1: 0.2}), BOOTSTRAP)
    assert (difference.paired_seeds, difference.spreads) == ([], {})


def test_pairs_need_the_value_in_both():
    arm = group_arms([numbers("a", 0, 0.5), numbers("a", 1)], BOOTSTRAP)[0]
    difference = subtract(arm, arm_of_values("b", {0: 0.2, 1: 0.3}), BOOTSTRAP)
    assert difference.paired_seeds == [0, 1]
    assert difference.spreads["AUC"].by_seed == {0: pytest.approx(0.3)}


@pytest.mark.parametrize(
    ("rule", "last", "best", "collapsed"),
    [
        (CollapseRule(), 0.39, 0.8, True),
        (CollapseRule(), 0.4, 0.8, False),
        (CollapseRule(fraction=0.9), 0.7, 0.8, True),
        (CollapseRule(), 0.0, 0.0, False),
        (CollapseRule(), -3.0, -1.0, None),
        (CollapseRule(), None, 0.8, None),
        (CollapseRule(), 0.3, None, None),
    ],
)
def test_collapse(rule, last, best, collapsed):
    assert rule.decide(last, best) is collapsed


def test_collapse_is_told_of_whatever_the_reward_is_called():
    rule = CollapseRule(size=4)
    assert str(rule) == rule.describe(REWARD)
    assert "its mean sampled reward over the last 4 steps" in rule.describe("sampled reward")


def test_collapses_are_counted_of_those_that_can_tell():
    runs = [numbers("a", seed, collapsed=value) for seed, value in enumerate([True, False, None])]
    assert Arm("a", tuple(runs), {}).collapsed == (1, 2)


def test_curve_has_the_steps_of_all_seeds_and_their_range():
    runs = [
        numbers("a", 0, curve={1: 0.1, 2: 0.2, 3: 0.9}),
        numbers("a", 1, curve={1: 0.3, 2: 0.8}),
        numbers("a", 2),
    ]
    curve = make_curve(group_arms(runs, BOOTSTRAP)[0], "range", BOOTSTRAP)
    assert (curve.steps, curve.num_seeds, curve.num_left_out) == ([1, 2], 2, 1)
    assert curve.mean == pytest.approx([0.2, 0.5])
    assert (curve.low, curve.high) == ([0.1, 0.2], [0.3, 0.8])


def test_a_title_stands_above_the_curves(tmp_path):
    curve = make_curve(
        group_arms([numbers("a", 0, curve={1: 0.1})], BOOTSTRAP)[0], "range", BOOTSTRAP
    )
    for title, line in (("one task", ">one task<"), (None, ">reward: mean over seeds")):
        path = tmp_path / "curves.svg"
        draw_curves([curve], [path], metric="reward", band="range", title=title)
        assert line in path.read_text()


def test_curve_with_interval_has_that_of_the_seeds_at_each_step():
    values = {seed: math.sin(seed) for seed in range(12)}
    runs = [numbers("a", seed, curve={1: value}) for seed, value in values.items()]
    curve = make_curve(group_arms(runs, BOOTSTRAP)[0], "interval", BOOTSTRAP)
    low, high = make_spread(values, BOOTSTRAP).interval
    assert (curve.low[0], curve.high[0]) == pytest.approx((low, high), abs=1e-3)


@pytest.fixture
def sweep(tmp_path):
    """Two seeds of each of two arms; holder collapses with seed 1."""
    folder = tmp_path / "sweep"
    for name, seed, rewards in (
        ("grpo", 0, rewards_of(0.2, 0.6, 0.7)),
        ("grpo", 1, rewards_of(0.1, 0.5, 0.6)),
        ("holder", 0, rewards_of(0.3, 0.7, 0.8)),
        ("holder", 1, rewards_of(0.2, 0.8, 0.2)),
    ):
        write_run(folder / f"{name}_{seed}", rewards, name=f"{name}_seed{seed}", seed=seed)
    return folder


def leave_empty(figure, path, **_):
    path.touch()


def compare(capsys, out, *arguments, is_drawn=False):
    """Status, what is on the screen, and the JSON; without `is_drawn` pictures are empty files."""
    with patch.object(Figure, "savefig", Figure.savefig if is_drawn else leave_empty):
        status = main([*map(str, arguments), "--out", str(out)])
    report = out / "comparison.json"
    return status, capsys.readouterr(), json.loads(report.read_text()) if report.exists() else None


def test_comparison_of_a_sweep(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    status, _, found = compare(capsys, out, "--sweep", sweep, "--baseline", "grpo", is_drawn=True)
    assert status == 0
    grpo, holder = found["arms"]
    assert (grpo["arm"], grpo["n"], grpo["seeds"], grpo["collapsed"]) == ("grpo", 2, [0, 1], 0)
    assert (holder["collapsed"], holder["collapse_defined"]) == (1, 2)
    assert grpo["statistics"]["AUC"]["mean"] == pytest.approx(0.45)
    assert grpo["statistics"]["first 8"]["by_seed"] == pytest.approx({"0": 0.2, "1": 0.1})
    assert grpo["statistics"]["last 8"]["interval"] == pytest.approx([0.6, 0.7])
    assert grpo["statistics"][HELD_OUT]["mean"] == 0.75
    (difference,) = found["differences"]
    assert difference["paired_seeds"] == [0, 1]
    assert difference["statistics"]["last 8"]["by_seed"] == pytest.approx({"0": 0.1, "1": -0.4})
    assert found["notes"] == found["left_out"] == found["unfinished"] == []
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    picture = (out / "curves.svg").read_text()
    assert "band: smallest to largest seed" in picture
    markdown = (out / "comparison.md").read_text()
    assert "| grpo   | 2   | 0, 1  | 24    | 0 of 2    |" in markdown
    assert "| AUC      | grpo   | 2   | 0.450 | 0.071 | 0.400 to 0.500 |" in markdown
    assert "| last 8   | holder | 2   | -0.150 | 0.354 | -0.400 to +0.100 |" in markdown
    assert "below 0.5 times its best mean over 8 consecutive steps before" in markdown


LONG = "holder_linear_2_to_minus_2_clip_aware_ess_set_point_token_then_sequence"
SEEDS = (0, 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 1234567)


def studied(names, seeds, scale=1.0, held_out=True):
    """A study of arms whose seeds are partly missing, with values of any size."""
    runs = [
        RunNumbers(
            source=f"outputs/{name}/seed_{seed}",
            arm=name,
            seed=seed,
            steps=24 + seed % 5,
            values={
                heading: scale * (0.3 + math.sin(seed + index))
                for index, heading in enumerate(["AUC", "first 8", "last 8"])
            }
            | ({HELD_OUT: 0.5, HELD_OUT_TRUNCATED: 0.125 * number} if held_out else {}),
            collapsed=None,
            curve={},
        )
        for number, name in enumerate(names)
        for seed in seeds
        if (seed + number) % 7
    ]
    arms = group_arms(runs, Bootstrap(100))
    settings = StudySettings(baseline=arms[0].name, bootstrap=Bootstrap(100))
    differences = [subtract(arm, arms[0], settings.bootstrap) for arm in arms[1:]]
    return Study(settings, arms, differences, [], [], [])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 5e5, -2e12])
@pytest.mark.parametrize(
    "names",
    [
        ["grpo", "holder"],
        [LONG, f"{LONG}_dual_clip", "grpo", "sign_matched"],
        [f"{LONG}_{number}" for number in range(12)],
    ],
)
@pytest.mark.parametrize("seeds", [SEEDS[1:3], SEEDS])
def test_tables_fit_a_terminal_with_everything_in_them(names, seeds, scale):
    study = studied(names, seeds, scale)
    screen = io.StringIO()
    # A wide screen folds nothing.
    print_study(study, Console(file=screen, width=300))
    text = to_markdown(study)
    for shown in (
        [line for line in screen.getvalue().splitlines() if line[:1] in "┏┃┡│└"],
        [line for line in text.splitlines() if line.startswith("|")],
    ):
        assert len(shown) > 8 * len(names)
        assert max(map(len, shown)) <= 80
    for name in names:
        assert name in text
    labels = label_arms(study)
    assert len(set(labels.values())) == len(names)
    assert all(
        label in (name, f"arm {1 + sorted(names).index(name)}") for name, label in labels.items()
    )
    # One row for each value of each arm, and of each difference: nothing is split.
    headings = ("AUC", "first 8", "last 8", "held out", "truncated")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    for heading in headings:
        assert sum(row[0] == heading and len(row) == 6 for row in rows) == 2 * len(names) - 1
    seeds_shown = ", ".join(row[2] for row in rows if len(row) == 5 and row[0] not in ("arm",))
    assert str(seeds[-1]) in seeds_shown


def test_names_stay_in_the_tables_where_there_is_room():
    names = ["grpo", "linear_asc_ess_set"]
    assert label_arms(studied(names, SEEDS)) == {name: name for name in names}


def test_an_arm_without_a_value_has_a_row_that_says_so():
    arms = group_arms([numbers("a", 0, 0.5), numbers("b", 0)], BOOTSTRAP)
    text = to_markdown(Study(StudySettings(), arms, [], [], [], []))
    assert "| AUC   | b   | 0   | -     | -   | none          |" in text


def test_the_truncated_share_stands_beside_held_out_accuracy(sweep, tmp_path, capsys):
    share = {"val-aux/columns/truncated/mean@1": 0.25}
    for name in ("grpo_0", "grpo_1"):
        damage(sweep / name, 24, **share)
    results = tmp_path / "results.jsonl"
    for folder in sorted(sweep.iterdir()):
        append_result(results, read_run(folder))
    for number, source in enumerate((["--sweep", sweep], [results])):
        out = tmp_path / f"out{number}"
        _, _, found = compare(capsys, out, *source)
        assert found["arms"][0]["statistics"]["truncated"]["mean"] == 0.25
        assert "truncated" not in found["arms"][1]["statistics"]
        text = (out / "comparison.md").read_text()
        assert "| truncated | grpo   | 2   | 0.250 | 0.000 | 0.250 to 0.250 |" in text
        assert "| truncated | holder | 0   | -     | -     | none           |" in text


def test_same_command_writes_the_same_files(sweep, tmp_path, capsys):
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        compare(capsys, out, "--sweep", sweep, "--band", "interval", is_drawn=True)
    names = sorted(path.name for path in outs[0].iterdir())
    assert names == ["comparison.json", "comparison.md", "curves.png", "curves.svg"]
    for name in names:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()


def test_chosen_steps_and_metric(sweep, tmp_path, capsys):
    arguments = ("--sweep", sweep, "--steps", "last:12", "--metric", "holder/p")
    _, _, found = compare(capsys, tmp_path / "out", *arguments)
    assert found["steps"] == {"last 12": "last:12"}
    assert found["arms"][0]["statistics"]["last 12"]["mean"] == 2.0
    # Collapse stays one of the reward.
    assert found["arms"][1]["collapsed"] == 1


def test_one_seed_says_that_it_has_no_interval(sweep, tmp_path, capsys):
    _, screen, found = compare(capsys, tmp_path / "out", sweep / "grpo_0", is_drawn=True)
    assert found["arms"][0]["statistics"]["AUC"]["interval"] is None
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| AUC      | grpo | 1   | 0.500 | -   | none          |" in markdown
    assert "no --baseline is named" in screen.out.replace("\n", " ")
    assert "n = 1, no band" in (tmp_path / "out" / "curves.svg").read_text()


def test_unfinished_runs_are_listed_and_count_on_demand(sweep, tmp_path, capsys):
    late = write_run(sweep / "late", [0.5] * 9, name="grpo_seed2", seed=2, planned=24)
    with (late / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')
    status, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert (status, found["arms"][0]["seeds"]) == (0, [0, 1])
    assert found["unfinished"] == [
        {"source": str(late), "arm": "grpo", "seed": 2, "state": "9 of 24 steps", "counted": False}
    ]
    assert found["notes"] == [
        f"{late / 'metrics.jsonl'}: line 11 of 11 is cut off or broken, left out"
    ]
    _, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep, "--unfinished", "include")
    assert found["arms"][0]["seeds"] == [0, 1, 2]
    assert (found["arms"][0]["collapsed"], found["arms"][0]["collapse_defined"]) == (0, 2)
    notes = "\n".join(found["notes"])
    assert f"{late}: unfinished (9 of 24 steps), counted all the same" in notes
    assert "grpo: runs differ in length, each counts as it is (24 steps: seed 0 in" in notes
    assert "grpo: 15 of the steps are not in the curve, as not all seeds have them" in notes


def test_damage_is_told_and_the_rest_compared(sweep, tmp_path, capsys):
    metrics = sweep / "grpo_0" / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace("0.2", "NaN")
    metrics.write_text("".join(lines) + '{"step": 25, "cri')
    (sweep / "broken").mkdir()
    (sweep / "broken" / "metrics.jsonl").write_text("")
    status, screen, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert status == 1
    assert len(found["left_out"]) == 1
    assert f"{sweep / 'broken'}: arm None" in found["left_out"][0]
    assert found["notes"] == [
        f"{metrics}: line 26 of 26 is cut off or broken, left out",
        f"{metrics}: {REWARD} is not finite in 1 of 24 steps (5), which are left out",
        "grpo: 1 of the steps are not in the curve, as not all seeds have them",
    ]
    assert found["notes"][0] in screen.out
    assert found["arms"][0]["statistics"]["first 8"]["by_seed"]["0"] == pytest.approx(0.2)


def test_missing_metric_and_held_out_are_told(sweep, tmp_path, capsys):
    bare = write_run(sweep / "bare", [0.5] * 24, name="grpo_seed2", seed=2, held_out=(0.1, None))
    metrics = bare / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace(REWARD, "other"))
    _, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert found["arms"][0]["n"] == 3
    assert found["arms"][0]["statistics"]["AUC"]["n"] == 2
    assert f"{metrics}: no held-out accuracy after training" in found["notes"]
    assert f"{metrics}: {REWARD} is missing in all 24 steps" in found["notes"]
    assert "grpo: AUC without seed 2, which have no value" in found["notes"]
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| AUC      | grpo   | 2   | 0.450 | 0.071 | 0.400 to 0.500 |" in markdown
    assert "| grpo   | 3   | 0 to 2 |" in markdown


def test_two_runs_of_one_arm_and_seed_do_not_count(sweep, tmp_path, capsys):
    write_run(sweep / "again", [0.5] * 24, name="grpo_seed0", settings="lr: 1\n")
    status, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert (status, found["arms"][0]["seeds"]) == (1, [1])
    assert found["left_out"] == [
        f"grpo, seed 0: 2 runs ({sweep / 'again'}, {sweep / 'grpo_0'}); give one of them"
    ]


def test_arm_of_unequal_settings_is_told(sweep, tmp_path, capsys):
    write_run(sweep / "hot", [0.5] * 24, name="grpo_seed2", seed=2, settings="optim:\n  lr: 1\n")
    _, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert found["notes"][0].startswith("grpo: runs differ in more than the seed: optim.lr (")


def test_results_file_gives_the_same_tables_without_curves(sweep, tmp_path, capsys):
    _, _, from_folders = compare(capsys, tmp_path / "a", "--sweep", sweep, "--baseline", "grpo")
    results = tmp_path / "results.jsonl"
    for folder in sorted(sweep.iterdir()):
        append_result(results, read_run(folder))
    status, _, from_file = compare(capsys, tmp_path / "b", results, "--baseline", "grpo")
    assert status == 0
    assert from_file["differences"] == from_folders["differences"]
    for one, other in zip(from_file["arms"], from_folders["arms"], strict=True):
        assert (one["statistics"], one["collapsed"]) == (other["statistics"], other["collapsed"])
    assert not (tmp_path / "b" / "curves.png").exists()
    assert from_file["notes"] == [
        "grpo: no curve; results files have none",
        "holder: no curve; results files have none",
    ]


def damage(folder, step, **values):
    """Replace values of a step's line."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[step] |= {REWARD if name == "reward" else name: value for name, value in values.items()}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_means_over_fewer_steps_are_told_from_folders_and_from_results_files(
    sweep, tmp_path, capsys
):
    path = damage(sweep / "grpo_0", 24, reward="nan")
    _, _, found = compare(capsys, tmp_path / "a", "--sweep", sweep)
    assert (
        f"{path}: {REWARD} is not finite in 1 of 24 steps (24), which are left out"
        in (found["notes"])
    )
    results = tmp_path / "results.jsonl"
    append_result(results, read_run(sweep / "grpo_0"))
    _, _, found = compare(capsys, tmp_path / "b", results)
    assert found["notes"][0] == (
        f"{results}: grpo, seed 0: {REWARD} is missing or not finite in 1 of 24 steps, which are "
        "left out"
    )


def test_held_out_accuracy_that_is_not_finite_is_told(sweep, tmp_path, capsys):
    path = damage(sweep / "grpo_0", 24, **{HELD_OUT_METRIC: "nan"})
    _, _, found = compare(capsys, tmp_path / "out", "--sweep", sweep)
    assert f"{path}: held-out accuracy is not finite in step 24, left out" in found["notes"]
    assert f"{path}: no held-out accuracy after training" in found["notes"]
    assert found["arms"][0]["statistics"][HELD_OUT]["n"] == 1


def test_run_in_folder_and_results_file_counts_once(sweep, tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    append_result(results, read_run(sweep / "grpo_0"))
    status, _, found = compare(capsys, tmp_path / "out", results, "--sweep", sweep)
    assert (status, found["arms"][0]["n"]) == (0, 2)
    assert found["notes"] == [
        f"{results}: grpo, seed 0 is the run of {sweep / 'grpo_0'}, counted once"
    ]


def test_results_file_says_what_it_does_not_have(sweep, tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    append_result(results, read_run(sweep / "grpo_0"))
    for arguments, message in (
        (("--metric", "holder/p"), "for holder/p give the run folders"),
        (("--steps", "last:5"), "for last:5 give the run folders"),
        (("--collapse-window", "4"), "has means over 8 steps only"),
    ):
        status, screen, found = compare(capsys, tmp_path / "out", results, *arguments)
        assert (status, found) == (2, None)
        assert message in screen.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no runs; give run folders"),
        (["--sweep", "{sweep}", "--baseline", "gspo"], "'gspo'; the arms are grpo, holder"),
        (["--sweep", "{sweep}", "--metric", "critic/reward/mean"], f"near are {REWARD}"),
        (["--sweep", "{sweep}", "--steps", "last"], "give all, first:<n> or last:<n>"),
        (["--sweep", "{sweep}/none"], "is no folder"),
        (["--sweep", "{sweep}/grpo_0/deeper"], "no run folder below"),
        (["{sweep}/nowhere"], "not found; give a results file or a run's folder"),
        (["{sweep}"], "a folder of runs after --sweep"),
        (["{sweep}/grpo_0", "--resamples", "9"], "give at least 100"),
        (["{sweep}/grpo_0", "--collapse-fraction", "0"], "give more than 0, at most 1"),
        (["{sweep}/grpo_0", "--collapse-window", "0"], "give at least 1"),
        (["{sweep}/grpo_0", "--out", "{sweep}/grpo_0/config.yaml"], "give a folder that can be"),
        (["{sweep}/grpo_0/metrics.jsonl"], "line 1: without arm, method"),
        (["{sweep}/grpo_0/metrics.jsonl"], "nor has any other line of 25 a result"),
    ],
)
def test_mistakes_are_one_message(sweep, capsys, arguments, message):
    (sweep / "grpo_0" / "deeper").mkdir()
    assert main([argument.format(sweep=sweep) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_more_arms_than_fit_one_diagram_get_one_each(tmp_path, capsys):
    for index in range(5):
        write_run(tmp_path / "s" / f"{index}", [0.5] * 24, name=f"arm{index}_seed0")
    compare(
        capsys, tmp_path / "out", "--sweep", tmp_path / "s", "--baseline", "arm0", is_drawn=True
    )
    picture = (tmp_path / "out" / "curves.svg").read_text()
    assert "grey: the other arms; dashed: arm0" in picture
    assert "arm4 (n = 1, no band)" in picture
