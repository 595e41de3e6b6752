"""Every set in one go, and the published rows."""

import json
import re

import pyarrow.parquet as pq
import pytest

from data_prep import gsm8k, math, math_level3to5, minerva
from data_prep.files import find_files, read_rows
from data_prep.math_set import fingerprint, read_problems
from holderpo.grading import grade_many

# Not among the published rows at hand.
ABSENT = ("amc23", "dapo17k")


@pytest.fixture(scope="module")
def folder(real_folder, tmp_path_factory):
    """The command's own choice: five evaluation sets and the training set."""
    folder = tmp_path_factory.mktemp("data")
    math.main([f"--source-folder={real_folder}", f"--folder={folder}"])
    return folder


def entry_of(folder, name):
    (entry,) = json.loads((folder / name / "manifest.json").read_text())["files"]
    return entry


def rows_of(folder, name):
    (path,) = (folder / name).glob("*.parquet")
    return pq.read_table(path).to_pylist()


def test_the_names_are_those_of_the_modules_and_folders():
    assert list(math.SETS) == [each.name for each in math.SETS.values()]
    assert set(math.DEFAULT) <= set(math.SETS)


@pytest.mark.parametrize("name", [name for name in math.SETS if name not in ABSENT])
def test_published_rows_are_the_reference(real_folder, name):
    for math_set in (math.SETS[name], *([gsm8k.TRAIN] if name == "gsm8k" else [])):
        names = (math_set.name, *math_set.file_names)
        (path,) = find_files(real_folder, names=names, split=math_set.split)
        problems = read_problems(read_rows(path), math_set)
        assert len(problems) == math_set.expected_rows
        assert fingerprint(problems) == math_set.fingerprint
        assert fingerprint(reversed(problems)) == math_set.fingerprint
        assert fingerprint(problems[1:]) != math_set.fingerprint


def test_rows_of_the_evaluation_sets(folder):
    numbers = {"aime24": 30, "amc": 83, "math500": 500, "minerva": 272, "olympiadbench": 675}
    for name, number in numbers.items():
        entry = entry_of(folder, name)
        assert (entry["rows"], entry["same_as_reference"]) == (number, True)
        assert not any(entry["checks"][kind]["found"] for kind in ("empty", "unverifiable"))
    assert rows_of(folder, "amc")[0]["reward_model"]["ground_truth"] == ["142"]


def test_what_is_wrong_with_the_training_set(folder):
    entry = entry_of(folder, math_level3to5.SET.name)
    checks = entry["checks"]
    found = {kind: [finding["row"] for finding in check["found"]] for kind, check in checks.items()}
    assert found == {
        "empty": [5054, 5158],
        "duplicate": [4007, 4465, 4749, 7583],
        "overlap": [1473, 2847, 3327, 5922],
        "lookalike": [1647],
        "unverifiable": [],
    }
    assert [each["with olympiadbench row"] for each in checks["overlap"]["found"]] == [
        459,
        395,
        522,
        517,
    ]
    assert checks["lookalike"]["found"] == [{"row": 1647, "with math500 row": 46}]
    assert (entry["rows"], entry["source_rows"]) == (8513, 8523)
    assert all(row["reward_model"]["ground_truth"] for row in rows_of(folder, "math_level3to5"))


def test_minervas_suspect_golds_are_printed_in_their_prompts(folder):
    rows = rows_of(folder, "minerva")
    marked = [row for row in rows if row["extra_info"]["gold_suspect"]]
    assert [row["extra_info"]["index"] for row in marked] == list(minerva.SUSPECT)
    assert entry_of(folder, "minerva")["gold_suspect"] == list(minerva.SUSPECT)
    # Each prompt has a solved question before the one that is asked.
    assert all(
        "Final answer: The final answer is" in row["extra_info"]["question"] for row in marked
    )
    printed = [
        row["extra_info"]["question"].partition("Final answer: The final answer is")[2]
        for row in marked
    ]
    answers = [text.partition(". I hope it is correct.")[0].strip() for text in printed]
    pairs = [
        (f"\\boxed{{{answer}}}", row["reward_model"]["ground_truth"])
        for answer, row in zip(answers, marked, strict=True)
    ]
    # That answer, not the one asked for, is the published gold: by value, or letter by letter.
    others = [
        (row["extra_info"]["index"], squeezed(answer))
        for answer, row, verdict in zip(answers, marked, grade_many(pairs), strict=True)
        if not verdict.score
        and squeezed(answer) not in map(squeezed, row["reward_model"]["ground_truth"])
    ]
    assert others == []


def squeezed(text):
    return re.sub(r"[\s()]", "", text)


def test_sets_that_fail_are_listed_after_the_others(real_folder, tmp_path, capsys):
    with pytest.raises(
        SystemExit, match=r"1 of 2 sets could not be prepared:\n  amc23 \(test\): 83"
    ):
        math.main(
            [
                f"--source-folder={real_folder}",
                f"--folder={tmp_path}",
                *["--sets", "amc23", "aime25", "--template=r1"],
            ]
        )
    assert "amc23: FAILED" in capsys.readouterr().out
    assert rows_of(tmp_path, "aime25")[0]["extra_info"]["template"] == "r1"


def test_training_sets_come_last_and_see_the_evaluation_sets(monkeypatch, tmp_path):
    seen = []

    def prepare_folder(sources, folder, settings):
        seen.append((next(iter(sources)).name, [path.parent.name for path in settings.held_out]))

    monkeypatch.setattr(math, "prepare_folder", prepare_folder)
    math.main([f"--folder={tmp_path}", "--sets", "math_level3to5", "gsm8k", "aime24"])
    assert seen == [
        ("aime24", []),
        ("gsm8k", ["aime24"]),
        ("math_level3to5", ["aime24", "gsm8k"]),
    ]


def test_every_training_set_gets_a_tiny_model(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(math, "prepare_folder", lambda *arguments: None)
    monkeypatch.setattr(math, "ensure_tiny_model", made.append)
    sets = ["--sets", "math_level3to5", "gsm8k", "aime24"]
    math.main([f"--folder={tmp_path}", *sets, "--tiny-model"])
    assert made == [tmp_path / name / "tiny_model" for name in ("gsm8k", "math_level3to5")]
    math.main([f"--folder={tmp_path}", *sets])
    assert len(made) == 2


def test_every_module_has_a_command(capsys):
    for name in math.SETS:
        module = __import__(f"data_prep.{name}", fromlist=["SET"])
        assert module.SET is math.SETS[name]
    with pytest.raises(SystemExit) as stopped:
        math.main(["--help"])
    assert stopped.value.code == 0
    assert "--source-folder" in capsys.readouterr().out
