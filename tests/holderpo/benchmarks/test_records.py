"""Answers on disk: whole lines only."""

import json
from dataclasses import replace

import pytest

from holderpo.benchmarks import records
from holderpo.benchmarks.records import Record
from holderpo.records_folder import remove_cut_off_line

ONE = Record("math500", 3, 0, 0, "é \u2028 \\boxed{1}\r\n", "stop", 12, "1", "correct", 1.0)
TWO = replace(ONE, index=4, answer=None, status="no_answer", score=0.0, finish_reason="length")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "math500.jsonl"
    assert records.read_records(path) == {}
    records.write_records(path, [ONE])
    with path.open("a", encoding="utf-8") as file:
        file.write(records.to_line(TWO))
    assert records.read_records(path) == {(3, 0, 0): ONE, (4, 0, 0): TWO}
    assert [ONE.truncated, TWO.truncated] == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["math500.jsonl"]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_off_by_a_kill_is_no_answer_and_is_removed(tmp_path, cut):
    path = tmp_path / "math500.jsonl"
    path.write_bytes((records.to_line(ONE) + records.to_line(TWO)).encode()[:-cut])
    assert list(records.read_records(path)) == [ONE.key]
    remove_cut_off_line(path)
    assert path.read_bytes() == records.to_line(ONE).encode()
    with path.open("a", encoding="utf-8") as file:
        file.write(records.to_line(TWO))
    assert list(records.read_records(path)) == [ONE.key, TWO.key]


@pytest.mark.parametrize(
    "line",
    [
        *("{}", "[1]", "nonsense", records.to_line(ONE)),
        *(
            json.dumps({**TWO.__dict__, **change})
            for change in (
                *({"score": score} for score in ("1", True, 0.5, float("nan"))),
                *({"index": True}, {"sample": None}, {"set": "amc"}),
            )
        ),
    ],
)
def test_broken_and_repeated_lines_name_file_and_line(tmp_path, line):
    path = tmp_path / "math500.jsonl"
    path.write_text(f"{records.to_line(ONE)}{line.strip()}\n")
    with pytest.raises(ValueError, match=r"math500\.jsonl, line 2: "):
        records.read_records(path)
