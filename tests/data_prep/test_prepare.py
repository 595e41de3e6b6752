"""From published rows to parquet and manifest."""

import dataclasses
import json

import pyarrow.parquet as pq
import pytest

from data_prep import aime24, amc23, dapo17k, math500, math_level3to5, minerva
from data_prep.command import ensure_tiny_model, run
from data_prep.math_set import Hub, MathSet, read_problems
from data_prep.prepare import Settings, prepare
from holderpo.benchmarks.prompt import TEMPLATES, render

TRAIN = MathSet(name="exercises", split="train", expected_rows=4, file_names=("rows",))
TEST = dataclasses.replace(TRAIN, split="test")
ROWS = [
    {"problem": "What is $1+1$?", "answer": "$2$"},
    {"problem": "What is $1+2$?", "answer": ["3\n", "3.0"]},
    {"problem": "what is 1+1", "answer": 2.0},
    {"problem": "What is $x$?", "answer": " "},
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def prepared(math_set, source, folder, *options):
    run(math_set, [f"--source={source}", f"--folder={folder}", *options])
    path = folder / f"{math_set.split}.parquet"
    manifest = json.loads((folder / "manifest.json").read_text())
    return pq.read_table(path).to_pylist(), manifest


def test_a_row_as_verl_reads_it(source, tmp_path):
    rows, manifest = prepared(TRAIN, source, tmp_path / "out")
    assert rows[1] == {
        "data_source": "exercises",
        "prompt": [{"role": "user", "content": render("What is $1+2$?", "qwen_math")}],
        "reward_model": {"style": "rule", "ground_truth": ["3", "3.0"]},
        "extra_info": {
            "split": "train",
            "index": 1,
            "template": "qwen_math",
            "question": "What is $1+2$?",
            "gold_suspect": False,
        },
    }
    assert manifest["template"] == "qwen_math"
    (entry,) = manifest["files"]
    assert (entry["file"], entry["rows"], entry["source_rows"]) == ("train.parquet", 2, 4)
    assert entry["source"]["files"][0]["file"] == str(source)


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_template_is_in_prompt_row_and_manifest(source, tmp_path, template):
    rows, manifest = prepared(TRAIN, source, tmp_path / "out", f"--template={template}")
    assert rows[0]["prompt"][0]["content"] == render("What is $1+1$?", template)
    assert {row["extra_info"]["template"] for row in rows} == {template}
    assert manifest["template"] == template


def test_training_rows_with_problems_are_dropped_and_listed(source, tmp_path, capsys):
    rows, manifest = prepared(TRAIN, source, tmp_path / "out")
    assert [row["extra_info"]["index"] for row in rows] == [0, 1]
    checks = manifest["files"][0]["checks"]
    assert checks["empty"]["found"] == [{"row": 3}]
    assert checks["duplicate"]["found"] == [{"row": 2, "of row": 0, "text": "normalised"}]
    output = capsys.readouterr().out
    assert "empty: 1 row dropped" in output
    assert "row 2 (of row 0, text normalised)" in output
    assert "overlap: not checked, there is no --held-out" in output
    assert "UNCHECKED: there is no reference" in output


def test_evaluation_rows_stay_as_published(source, tmp_path, capsys):
    rows, manifest = prepared(TEST, source, tmp_path / "out")
    assert [row["reward_model"]["ground_truth"] for row in rows] == [["2"], ["3", "3.0"], ["2"], []]
    assert manifest["files"][0]["checks"]["empty"] == {
        "meaning": "no gold answer: no response can be rewarded",
        "action": "keep",
        "found": [{"row": 3}],
    }
    assert "empty: 1 row kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        (["--on-problem-rows=keep"], [0, 1, 2, 3]),
        (["--on-problem-rows=keep", "--on-empty=drop"], [0, 1, 2]),
        (["--on-duplicate=keep"], [0, 1, 2]),
    ],
)
def test_what_is_done_is_a_setting(source, tmp_path, options, indices):
    rows, _ = prepared(TRAIN, source, tmp_path / "out", *options)
    assert [row["extra_info"]["index"] for row in rows] == indices


def test_fail_lists_the_rows_and_writes_nothing(source, tmp_path):
    with pytest.raises(SystemExit, match=r"2 findings to fail on\. empty: row 3; duplicate: row 2"):
        prepared(TRAIN, source, tmp_path / "out", "--on-problem-rows=fail")
    assert not (tmp_path / "out").exists()


def test_overlap_is_dropped_from_training_sets_only(source, tmp_path):
    held_out = tmp_path / "exam.jsonl"
    held_out.write_text(json.dumps({"problem": "What is 1+2?"}) + "\n")
    rows, manifest = prepared(TRAIN, source, tmp_path / "out", f"--held-out={held_out}")
    assert [row["extra_info"]["index"] for row in rows] == [0]
    overlap = manifest["files"][0]["checks"]["overlap"]
    assert overlap["found"] == [{"row": 1, "with exam row": 0, "text": "normalised"}]
    assert overlap["held_out"] == [str(held_out)]
    settings = Settings(held_out=(held_out,), actions={"overlap": "drop"})
    entry = prepare(TEST, source=source, folder=tmp_path / "test", settings=settings)
    assert (entry["rows"], entry["checks"]["overlap"]["found"]) == (4, [])


def test_running_again_changes_nothing_and_says_so(source, tmp_path, capsys):
    folder = tmp_path / "out"
    _, manifest = prepared(TRAIN, source, folder, "--tiny-model")
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert "written" in capsys.readouterr().out
    _, again = prepared(TRAIN, source, folder, "--tiny-model")
    output = capsys.readouterr().out
    assert again == manifest
    assert "template qwen_math, unchanged" in output
    assert f"{folder / 'tiny_model'}: unchanged" in output
    changed = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == ["manifest.json"]
    assert not list(folder.rglob("*.tmp"))


def test_another_number_of_rows_than_published(source, tmp_path):
    other = dataclasses.replace(TRAIN, expected_rows=5)
    with pytest.raises(SystemExit, match=r"4 rows in .*rows\.jsonl instead of 5; .*--any-number"):
        prepared(other, source, tmp_path / "out")
    rows, _ = prepared(other, source, tmp_path / "out", "--any-number-of-rows")
    assert len(rows) == 2
    rows, manifest = prepared(other, source, tmp_path / "out", "--max-rows=2")
    assert len(rows) == 2
    assert manifest["files"][0]["max_rows"] == 2
    with pytest.raises(SystemExit, match="--max-rows: 0; give 1 or more"):
        prepared(other, source, tmp_path / "out", "--max-rows=0")


def test_no_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(SystemExit, match="no rows in"):
        prepared(dapo17k.SET, tmp_path / "rows.jsonl", tmp_path / "out")


def test_a_training_set_without_a_row_left_is_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "x", "answer": ""}))
    with pytest.raises(SystemExit, match="all 1 rows would be dropped, for empty; give other rows"):
        prepared(dapo17k.SET, tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"task": "x", "answer": "1"}, r"line 2: no field 'problem' or .*\['answer', 'task'\]"),
        ({"problem": "x", "key": "1"}, r"line 2: no field 'answer' or .*\['key', 'problem'\]"),
        ({"problem": " ", "answer": "1"}, r"line 2: the problem is ' ', no text"),
        ({"problem": "x", "answer": None}, r"line 2: answer: None; give a text"),
        ({"problem": "x", "answer": {"a": 1}}, r"line 2: answer: dict; give a text"),
        ({"problem": "x", "answer": float("nan")}, r"line 2: answer: nan; give a text"),
        ({"problem": "x", "answer": float("inf")}, r"line 2: answer: inf; give a text"),
        ({"problem": "x\ud800", "answer": "1"}, r"line 2: 'x\\ud800': surrogates not allowed"),
    ],
)
def test_a_row_without_problem_or_answer_names_its_place_and_fields(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(SystemExit, match=r"error: .*rows\.jsonl, " + message):
        prepared(TRAIN, path, tmp_path / "out")


def test_dapo_rows_lose_their_own_instruction():
    instruction = (
        "Solve the following math problem step by step. The last line of your response should be "
        "of the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
    )
    reminder = 'Remember to put your answer on its own line after "Answer:".'
    text = f"{instruction}\n\nFind $x$.\n\n{reminder}"
    original = {
        "prompt": [{"role": "user", "content": text}],
        "reward_model": {"ground_truth": "34", "style": "rule"},
    }
    processed = {"prompt": "Find $x$.", "solution": "34", "source_prompt": original["prompt"]}
    rows = [("first", original), ("second", processed)]
    read = [(each.text, each.golds) for each in read_problems(rows, dapo17k.SET)]
    assert read == [("Find $x$.", ("34",))] * 2


def fake_hub(monkeypatch, *, commit="c" * 40, rows=ROWS):
    """The hub's two calls, with what they were asked."""
    asked = []

    class Info:
        sha = commit

    def dataset_info(name, *, revision):
        asked.append(("info", name, revision))
        return Info

    def load_dataset(name, config, *, split, revision):
        asked.append(("rows", name, config, split, revision))
        return rows

    monkeypatch.setattr("huggingface_hub.dataset_info", dataset_info)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    return asked


def test_the_hub_is_read_at_a_commit_that_the_manifest_names(monkeypatch, tmp_path, capsys):
    asked = fake_hub(monkeypatch)
    from_hub = dataclasses.replace(TRAIN, hub=Hub(id="owner/name", split="tr", config="main"))
    run(from_hub, [f"--folder={tmp_path}"])
    assert asked == [
        ("info", "owner/name", None),
        ("rows", "owner/name", "main", "tr", "c" * 40),
    ]
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert entry["source"] == {
        "kind": "hub",
        "id": "owner/name",
        "config": "main",
        "split": "tr",
        "revision": "c" * 40,
        "checked": False,
    }
    assert "this hub id was never tried by this project" in capsys.readouterr().out
    run(from_hub, [f"--folder={tmp_path}", "--revision=v2"])
    assert asked[2] == ("info", "owner/name", "v2")


def test_a_checked_commit_of_the_hub_is_not_another_one(monkeypatch, tmp_path):
    hub = Hub(id="owner/name", split="tr", revision="c" * 40, checked=True)
    from_hub = dataclasses.replace(TRAIN, hub=hub)
    for commit, checked in (("c" * 40, True), ("d" * 40, False)):
        fake_hub(monkeypatch, commit=commit)
        run(from_hub, [f"--folder={tmp_path}"])
        (entry,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
        assert entry["source"]["checked"] is checked


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch, tmp_path):
    def dataset_info(name, *, revision):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.dataset_info", dataset_info)
    expected = r"^error: HuggingFaceH4/aime_2024 cannot be read from the hub \(no route to host\);"
    with pytest.raises(SystemExit, match=expected):
        run(aime24.SET, [f"--folder={tmp_path}"])


def test_a_set_without_a_known_hub_id_says_where_to_get_it(tmp_path):
    with pytest.raises(SystemExit, match=r"give .* with --source \(published as datasets/train/"):
        run(math_level3to5.SET, [f"--folder={tmp_path}"])


def test_rows_are_compared_with_the_reference(tmp_path, capsys):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    wrong = dataclasses.replace(math500.SET, expected_rows=4)
    _, manifest = prepared(wrong, tmp_path / "rows.json", tmp_path / "out")
    assert manifest["files"][0]["same_as_reference"] is False
    assert "UNCHECKED: problems or answers differ from the reference" in capsys.readouterr().out
    _, manifest = prepared(wrong, tmp_path / "rows.json", tmp_path / "out", "--max-rows=2")
    assert manifest["files"][0]["same_as_reference"] is None


def test_no_hub_id_counts_as_checked_without_a_trial():
    sets = (aime24, amc23, math500, minerva, dapo17k)
    assert not any(module.SET.hub.checked for module in sets)


def test_characters_outside_ascii_do_not_break_the_tiny_model(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ensure_tiny_model(tmp_path, max_tokens=6000)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = tokenizer("Janet’s ½ é: " + "x" * 4500, return_tensors="pt")
    assert tokens["input_ids"].shape[1] > 4500
    assert model.config.max_position_embeddings == 6000
    assert model(**tokens).logits.isfinite().all()
