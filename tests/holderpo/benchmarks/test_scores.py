"""Numbers of an evaluation, and their table."""

import io
import json

import pytest
import rich.console

from holderpo import bootstrap
from holderpo.benchmarks import score_tables, scores
from holderpo.benchmarks.panels import GREEDY, PANELS, SETS, Entry, Panel, Sampling
from holderpo.benchmarks.pass_at_k import pass_at_k
from holderpo.benchmarks.records import Record
from holderpo.benchmarks.scores import average_panel, score_set
from holderpo.intervals import wilson_interval


def record(index, score=0.0, *, name="math500", seed=0, sample=0, status="", finish="stop"):
    return Record(
        set=name,
        index=index,
        sample=sample,
        seed=seed,
        response="",
        finish_reason=finish,
        num_tokens=10 + index,
        answer=None,
        status=status or ("correct" if score else "wrong"),
        score=float(score),
    )


def greedy_set(name, num_correct, num_problems=None):
    count = SETS[name] if num_problems is None else num_problems
    records = [record(index, index < num_correct, name=name) for index in range(count)]
    (result,) = score_set(name, GREEDY, records)
    return result


def test_greedy_answers_give_a_share_with_wilsons_interval():
    result = greedy_set("math500", 3, num_problems=10)
    (score,) = result.scores
    assert (score.metric, score.value, score.interval_kind) == ("pass@1", 0.3, "Wilson")
    assert score.interval == wilson_interval(3, 10)
    assert result.mean_tokens == 14.5


SAMPLING = Sampling(temperature=1.0, samples=4, k=(2, 4))
# Right answers of four, by problem and seed.
COUNTS = {0: (4, 4), 1: (1, 2), 2: (0, 0), 3: (0, 1), 4: (2, 0)}


def sampled_records():
    return [
        record(index, sample < count, seed=seed, sample=sample)
        for index, counts in COUNTS.items()
        for seed, count in zip((7, 3), counts, strict=True)
        for sample in range(4)
    ]


def test_sampled_answers_of_all_seeds_make_one_estimate():
    (result,) = score_set("math500", SAMPLING, sampled_records())
    scores = {score.metric: score for score in result.scores}
    assert list(scores) == ["avg@4", "pass@2", "pass@4"]
    total = {index: sum(counts) for index, counts in COUNTS.items()}
    assert scores["avg@4"].value == pytest.approx(sum(total.values()) / 40)
    for k in (2, 4):
        by_hand = sum(pass_at_k(8, correct, k) for correct in total.values()) / 5
        assert scores[f"pass@{k}"].value == pytest.approx(by_hand)
    # A single seed's pass@4 of four answers: whether any is right.
    assert scores["pass@4"].by_seed == {3: 3 / 5, 7: 3 / 5}
    assert scores["avg@4"].by_seed == {3: pytest.approx(7 / 20), 7: pytest.approx(7 / 20)}
    for score in scores.values():
        assert score.interval_kind == "bootstrap"
        assert 0 <= score.interval.low < score.value < score.interval.high <= 1
    assert (result.seeds, result.num_problems, result.num_answers) == ((3, 7), 5, 40)


def test_the_order_of_the_records_does_not_matter():
    forwards = score_set("math500", SAMPLING, sampled_records())
    backwards = score_set("math500", SAMPLING, sampled_records()[::-1])
    assert forwards[0].scores == backwards[0].scores


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    # 200 sets of 60 problems, half of which are solved always, half never, drawn at random.
    import random

    draw, sampling, covered = random.Random(0), Sampling(temperature=1.0, samples=2), 0
    for _ in range(200):
        solved = [draw.random() < 0.5 for _ in range(60)]
        records = [
            record(index, right, sample=sample)
            for index, right in enumerate(solved)
            for sample in (0, 1)
        ]
        (result,) = score_set("math500", sampling, records)
        low, high = result.scores[0].interval
        covered += low <= 0.5 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_problems_that_are_all_alike_still_have_an_interval():
    records = [record(index, 0, sample=sample) for index in range(30) for sample in range(4)]
    (result,) = score_set("math500", SAMPLING, records)
    assert result.scores[0].interval == wilson_interval(0, 30)
    assert result.scores[0].interval_kind == "Wilson"


def test_failures_are_shares_of_answers():
    records = [
        record(0, 1),
        record(1, status="no_answer", finish="length"),
        record(2, status="timeout"),
        record(3, status="correct", finish="length"),
    ]
    (result,) = score_set("math500", GREEDY, records)
    assert result.failures == {
        "no_answer": 0.25,
        "unparseable": 0,
        "timeout": 0.25,
        "error": 0,
        "truncated": 0.5,
    }


def test_suspect_golds_are_left_out_beside_the_published_number():
    records = [record(index, index >= 68, name="minerva") for index in range(272)]
    published, trusted = score_set("minerva", GREEDY, records, suspects={*range(68), 1000})
    assert (published.title, published.scores[0].value) == ("minerva", 0.75)
    assert (trusted.title, trusted.scores[0].value) == ("minerva, without 68 suspect golds", 1.0)


def test_a_part_of_a_set_is_called_one():
    records = [record(index, index != 2, name="minerva") for index in range(4)]
    published, trusted = score_set("minerva", GREEDY, records, suspects={2, 100})
    assert published.title == "minerva (4 of 272)"
    assert trusted.title == "minerva (4 of 272), without 1 suspect golds"
    (entry, _) = score_tables.to_json([published, trusted], [])["sets"]
    assert (entry["set"], entry["title"]) == ("minerva", "minerva (4 of 272)")
    text = score_tables.to_markdown("m", [published], [], [])
    assert ["minerva (4 of 272)", "4", "greedy, 3000 tokens", "none", "12"] in rows_of(text)


@pytest.mark.parametrize("lost", [0, 17])
def test_a_missing_answer_is_an_error(lost):
    records = sampled_records()
    del records[lost]
    with pytest.raises(ValueError, match="3 answers of seed"):
        score_set("math500", SAMPLING, records)
    with pytest.raises(ValueError, match="no answers"):
        score_set("math500", SAMPLING, [])


def table2_results():
    correct = {"aime24": 13, "amc": 57, "math500": 411, "minerva": 95, "olympiadbench": 306}
    return [greedy_set(name, count) for name, count in correct.items()]


def test_the_average_of_a_panel_is_the_mean_of_its_sets():
    # The paper's row: 43.3, 68.7, 82.2, 34.9, 45.3 and on average 54.9.
    panel = average_panel(PANELS["table2"], table2_results())
    assert panel.title == "average of panel table2"
    assert round(100 * panel.value, 1) == 54.9
    # Of independent sets: the standard error is about 2.2 points.
    half_width = (panel.interval.high - panel.interval.low) / 2
    assert half_width == pytest.approx(1.96 * 0.0222, rel=0.1)
    assert panel.interval.low < panel.value < panel.interval.high


def test_problems_that_are_alike_in_part_still_have_an_interval():
    records = [record(0, sample < 2, sample=sample) for sample in range(4)]
    (result,) = score_set("math500", SAMPLING, records)
    for score in result.scores[:2]:
        assert score.interval_kind == "Wilson"
        assert score.interval.low < score.value < score.interval.high


def test_an_average_of_sets_without_a_right_answer_is_still_uncertain():
    results = [greedy_set(name, 0) for name in PANELS["table2"].sets]
    panel = average_panel(PANELS["table2"], results)
    assert (panel.value, panel.interval.low) == (0, 0)
    # AIME24 alone may be up to 11 %, a fifth of which counts.
    assert wilson_interval(0, 30).high / 5 < panel.interval.high < 0.03


def test_the_interval_of_an_average_covers_the_truth_as_often_as_it_says():
    import random

    draw, entries = random.Random(0), tuple(Entry(n, GREEDY, "pass@1") for n in ("aime24", "amc23"))
    truth, covered = {"aime24": 0.03, "amc23": 0.3}, 0
    for _ in range(300):
        results = [
            greedy_set(name, sum(draw.random() < share for _ in range(SETS[name])))
            for name, share in truth.items()
        ]
        low, high = average_panel(Panel("two", "", entries), results).interval
        covered += low <= sum(truth.values()) / 2 <= high
    assert 0.92 <= covered / 300 <= 0.99


def test_the_sets_of_a_panel_are_taken_as_independent():
    entries = tuple(Entry(name, GREEDY, "pass@1") for name in ("aime24", "aime25"))
    both = average_panel(
        Panel("two", "", entries), [greedy_set("aime24", 15), greedy_set("aime25", 15)]
    )
    one = average_panel(Panel("one", "", entries[:1]), [greedy_set("aime24", 15)])
    widths = [panel.interval.high - panel.interval.low for panel in (both, one)]
    assert widths[0] / widths[1] == pytest.approx(2**-0.5, rel=0.1)


def test_the_minerva_that_counts_is_the_published_one():
    results = table2_results()
    minerva = [record(index, index < 95, name="minerva") for index in range(272)]
    results[3:4] = score_set("minerva", GREEDY, minerva, suspects=range(32))
    assert len(results) == 6
    assert average_panel(PANELS["table2"], results).value == pytest.approx(
        average_panel(PANELS["table2"], table2_results()).value
    )


def test_a_panel_that_is_not_whole_has_no_average_and_says_why():
    results = table2_results()[1:]
    results[0] = greedy_set("amc", 5, num_problems=10)
    panel = average_panel(PANELS["table2"], results)
    assert (panel.value, panel.interval) == (None, None)
    assert panel.reasons == ("aime24 is missing", "amc has 10 of 83 problems")
    # Nor is it that of another panel.
    other = average_panel(PANELS["table6_7"], table2_results())
    assert other.reasons == ("aime25 is missing", "amc23 is missing")


def test_finished_answers_have_a_score_of_their_own_beside_the_truncated_share():
    records = [
        record(0, 1),
        record(1, 0),
        record(2, 0, finish="length"),
        # Graded like others: what a cut off answer is worth does not matter here.
        record(3, 1, finish="length"),
        record(4, 1),
    ]
    (result,) = score_set("math500", GREEDY, records)
    (score,) = result.scores
    assert (score.value, result.failures["truncated"]) == (0.6, 0.4)
    assert score.finished == pytest.approx(2 / 3)
    (result,) = score_set("math500", GREEDY, [record(0, 0, finish="length")])
    assert result.scores[0].finished is None


def test_finished_answers_of_all_seeds_and_samples_count_alike_and_pass_at_k_has_none():
    # Problem 0: one of eight is cut off. Problem 1: all but one right one are.
    records = [
        record(index, right, seed=seed, sample=sample, finish="length" if cut else "stop")
        for index, seed, sample, right, cut in (
            (index, seed, sample, index or sample > 1, (seed or sample) if index else False)
            for index in (0, 1)
            for seed in (0, 1)
            for sample in range(4)
        )
    ]
    sampling = Sampling(temperature=1.0, samples=4, k=(1, 4))
    (result,) = score_set("math500", sampling, records)
    finished = {score.metric: score.finished for score in result.scores}
    assert finished == {
        "avg@4": pytest.approx(5 / 9),
        "pass@1": pytest.approx(5 / 9),
        "pass@4": None,
    }


def cut_off(name, num_correct, num_truncated):
    records = [
        record(
            index,
            index < num_correct,
            name=name,
            finish="length" if index >= SETS[name] - num_truncated else "stop",
        )
        for index in range(SETS[name])
    ]
    return score_set(name, GREEDY, records)[0]


def test_an_average_has_the_truncated_share_and_the_score_of_the_finished_too():
    results = [cut_off("aime24", 3, 15), cut_off("aime25", 6, 0)]
    entries = tuple(Entry(name, GREEDY, "pass@1") for name in ("aime24", "aime25"))
    panel = average_panel(Panel("two", "", entries), results)
    assert panel.value == pytest.approx((3 / 30 + 6 / 30) / 2)
    assert panel.truncated == pytest.approx(0.25)
    assert panel.finished == pytest.approx((3 / 15 + 6 / 30) / 2)
    results[0] = cut_off("aime24", 0, 30)
    assert average_panel(Panel("two", "", entries), results).finished is None


def rows_of(text):
    """Cells of the lines of Markdown tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def full_results():
    minerva = [record(index, index < 95, name="minerva") for index in range(272)]
    sampling = Sampling(temperature=0.6, top_p=0.95, samples=4, k=(2, 4), max_tokens=32768)
    return [
        *table2_results()[:3],
        *score_set("minerva", GREEDY, minerva, suspects=range(32)),
        cut_off("olympiadbench", 306, 100),
        *score_set("aime25", sampling, sampled_records()),
    ]


def test_the_tables_are_complete_and_name_panels_intervals_and_failures():
    results = full_results()
    panels = [average_panel(PANELS[name], results) for name in ("table2", "table6_7")]
    text = score_tables.to_markdown("m", results, panels, ["a note"])
    rows = rows_of(text)
    scores = [row for row in rows if len(row) == 6 and row[1] in ("pass@1", "avg@4", "pass@4")]
    assert [row[0] for row in scores] == [
        *("aime24", "amc", "math500", "minerva", "minerva, without 32", "olympiadbench"),
        *("aime25 (5 of 30)", "aime25 (5 of 30)"),
    ]
    olympiad = ["olympiadbench", "pass@1", "45.3", "41.6 to 49.1 W", "14.8", "53.2"]
    assert olympiad in scores
    assert ["average of panel", "", "54.9", "50.8 to 59.1 S", "3.0", "56.5"] in rows
    assert ["average of panel", "", "none", "", "", ""] in rows
    assert "No average of panel table6_7: aime25 is sampled otherwise; amc23 is missing" in text
    assert ["aime25 (5 of 30)", "5", "T 0.6, top-p 0.95, n 4,", "3, 7", "12"] in rows
    assert ["", "", "32768 tokens", "", ""] in rows
    assert ["set", "no answer", "unparseable", "timeout", "error", "truncated"] in rows
    assert "by seed" in text
    assert "- a note" in text


def test_the_tables_fit_a_terminal_and_the_screen_shows_what_markdown_has():
    results = full_results()
    panels = [average_panel(PANELS[name], results) for name in ("table2", "table6_7")]
    text = score_tables.to_markdown("m", results, panels, ["a note"])
    screen = io.StringIO()
    # A wide screen folds nothing.
    console = rich.console.Console(file=screen, width=300)
    score_tables.print_report(console, results, panels, ["a note"])
    drawn = [line for line in screen.getvalue().splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, drawn)) <= 80
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 80
    cells = {cell.strip() for line in drawn for cell in line.replace("┃", "│").split("│")}
    assert {cell for row in rows_of(text) for cell in row if set(cell) != {"-"}} <= cells
    assert "a note" in screen.getvalue()


def test_every_kind_of_interval_has_a_mark_that_is_explained():
    results = full_results()
    panels = [average_panel(PANELS["table2"], results)]
    kinds = {score.interval_kind for result in results for score in result.scores}
    assert kinds == {bootstrap.WILSON, bootstrap.BOOTSTRAP}
    assert set(score_tables.MARKS) == kinds | {score_tables.PANEL_INTERVAL}
    explained = " ".join(score_tables.explain(results, panels))
    assert "W is Wilson's, B of the bootstrap, S made of the sets'" in explained


def test_the_numbers_are_json():
    results = [*table2_results(), *score_set("aime25", SAMPLING, sampled_records())]
    panels = [average_panel(PANELS[name], results) for name in ("table2", "table6_7")]
    entries = json.loads(json.dumps(score_tables.to_json(results, panels), allow_nan=False))
    assert entries["sets"][0]["scores"][0]["value"] == pytest.approx(13 / 30)
    assert entries["sets"][5]["scores"][2]["by_seed"] == {"3": 0.6, "7": 0.6}
    first, second = entries["averages"]
    assert first["name"] == "average of panel table2"
    assert (second["value"], second["why_none"][0]) == (None, "aime25 is sampled otherwise")
    assert (first["truncated"], first["finished"]) == (0.0, pytest.approx(first["value"]))
    assert entries["sets"][0]["scores"][0]["finished"] == pytest.approx(13 / 30)
    assert entries["sets"][0]["scores"][0]["truncated"] == 0.0


def test_shares_shown_are_those_of_the_grader():
    from holderpo.grading import Status

    assert set(scores.FAILURES) - {"truncated"} == {*Status} - {Status.CORRECT, Status.WRONG}
