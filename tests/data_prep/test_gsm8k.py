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
    assert [entry["file"] for entry in manifest["files"]] == ["train.parquet", "test.parquet"]
    assert manifest["licence"] == "MIT"
    assert (folder / "tiny_model" / "tokenizer.json").exists()


@pytest.mark.parametrize("line", ["{", '{"problem": "x"}', "[1]"])
def test_a_broken_row_names_file_and_line(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(SystemExit, match=r"rows\.jsonl, line 2"):
        gsm8k.main([f"--train={path}", f"--test={path}", f"--folder={tmp_path / 'out'}"])
