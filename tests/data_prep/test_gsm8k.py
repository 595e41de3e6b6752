"""GSM8K rows from JSONL files."""

import pytest

from data_prep.gsm8k import problem_and_answer, read_jsonl


def test_both_forms_of_a_row_give_the_final_answer():
    ours = {"problem": "How many?", "answer": "1,234"}
    hub = {"question": "How many?", "answer": "First 2.\n#### 1,234"}
    assert problem_and_answer(ours) == problem_and_answer(hub) == ("How many?", "1234")


@pytest.mark.parametrize("line", ["{", '{"problem": "x"}', "[1]"])
def test_a_broken_row_names_file_and_line(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2"):
        list(read_jsonl(path))
