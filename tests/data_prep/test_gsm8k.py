"""GSM8K from files with the hub's fields and with ours."""

import json

import pyarrow.parquet as pq
import pytest

from data_prep import gsm8k


def test_both_forms_of_an_answer():
    hub = {"question": "How many?", "answer": "First 2.\n#### 1,234"}
    ours = {"problem": "How many?", "answer": "1,234"}
    assert gsm8k.final_answer(hub) == gsm8k.final_answer(ours) == "1234"


def test_both_splits_with_the_chat_template_and_a_tiny_model(tmp_path):
    (tmp_path / "gsm8k_train.jsonl").write_text(
        '{"question": "How many?", "answer": "First 2.\\n#### 1,234"}\n'
        '{"question": "And now?", "answer": "#### 5"}\n'
    )
    (tmp_path / "other.jsonl").write_text('{"problem": "How much?", "answer": "18"}\n')
    folder = tmp_path / "out"
    gsm8k.main(
        [
            f"--source={tmp_path}",
            f"--test={tmp_path / 'other.jsonl'}",
            f"--folder={folder}",
            "--any-number-of-rows",
        ]
    )
    train = pq.read_table(folder / "train.parquet").to_pylist()
    (test,) = pq.read_table(folder / "test.parquet").to_pylist()
    assert [row["reward_model"]["ground_truth"] for row in train] == [["1234"], ["5"]]
    assert test["data_source"] == "gsm8k"
    assert test["prompt"][0]["content"].startswith("How much?\nPlease reason step by step")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["files"]] == ["test.parquet", "train.parquet"]
    assert manifest["licence"] == "MIT"
    assert (folder / "tiny_model" / "tokenizer.json").exists()


def test_training_rows_are_compared_with_the_test_rows(tmp_path):
    for name, texts in {"train": ["How many?", "New?"], "test": ["how many"]}.items():
        lines = [json.dumps({"problem": text, "answer": "1"}) + "\n" for text in texts]
        (tmp_path / f"gsm8k_{name}.jsonl").write_text("".join(lines))
    folder = tmp_path / "out"
    gsm8k.main([f"--source={tmp_path}", f"--folder={folder}", "--any-number-of-rows"])
    (row,) = pq.read_table(folder / "train.parquet").to_pylist()
    assert row["extra_info"]["question"] == "New?"
    _, training = json.loads((folder / "manifest.json").read_text())["files"]
    (found,) = training["checks"]["overlap"]["found"]
    assert found == {"row": 0, "with out row": 0, "text": "normalised"}


@pytest.mark.parametrize("line", ["{", '{"problem": "x"}', "[1]"])
def test_a_broken_row_names_file_and_line(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(SystemExit, match=r"rows\.jsonl, line 2"):
        gsm8k.main([f"--train={path}", f"--test={path}", f"--folder={tmp_path / 'out'}"])
