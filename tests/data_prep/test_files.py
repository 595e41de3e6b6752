"""Rows of local files, and finding the file of a set."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.files import find_files, read_rows

ROWS = [{"problem": "One?\u2028Or two?", "answer": "1"}, {"problem": "Two?", "answer": "2"}]


def written(path):
    table = pa.Table.from_pylist(ROWS)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS, indent=1))
    elif path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    located = list(read_rows(written(tmp_path / f"rows{suffix}")))
    assert [row for _, row in located] == ROWS
    assert located[1][0].endswith("line 2" if suffix == ".jsonl" else "row 2")


def test_lines_in_a_json_file_and_blank_lines(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('\n{"problem": "a"}\n\n{"problem": "b"}\n')
    assert [where.rpartition(", ")[2] for where, _ in read_rows(path)] == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.jsonl", '{"a": 1}\n{"a": \n', r"rows\.jsonl, line 2: not JSON"),
        ("rows.jsonl", '{"a": 1}\n3\n', r"rows\.jsonl, line 2: int instead of an object"),
        ("rows.json", '[{"a": 1},\n{"a" 2}]', r"rows\.json, line 2: not JSON"),
        ("rows.json", '[{"a": 1}, "b"]', r"rows\.json, row 2: str instead of an object"),
        ("rows.parquet", "no parquet", r"rows\.parquet: not readable as parquet"),
        ("rows.arrow", "no arrow", r"rows\.arrow: not readable as arrow"),
        ("rows.jsonl", '{"a": 1}\n' + '{"a":' * 10**5, r"rows\.jsonl, line 2: not JSON"),
        ("rows.jsonl", '{"a": 1}\n{"a": ' + "9" * 5000 + "}", r"rows\.jsonl, line 2: not JSON"),
        ("rows.json", "[" * 10**5, r"rows\.json: not JSON"),
        ("rows.csv", "a,b", r"rows\.csv: give a file that ends with one of \.jsonl, "),
    ],
)
def test_what_is_no_row_names_file_and_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(read_rows(path))


def test_text_that_is_not_utf8_names_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": 1}\n{"a": "é"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: not UTF-8"):
        list(read_rows(path))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8-sig")
    assert [row for _, row in read_rows(path)] == [{"a": 1}]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_tables_with_damage_inside_name_their_file(tmp_path, suffix):
    path = written(tmp_path / f"rows{suffix}")
    content = path.read_bytes()
    # Magic bytes and metadata stay whole.
    damaged = content[:30] + b"\xff" * 30 + content[60:]
    path.write_bytes(damaged if suffix == ".parquet" else content[:-20])
    with pytest.raises(ValueError, match=rf"rows\{suffix}: not readable as {suffix[1:]} \("):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (["math500.jsonl", "amc.jsonl"], ["math500.jsonl"]),
        (["amc.jsonl", "math/data-00000-of-00001.arrow"], ["math/data-00000-of-00001.arrow"]),
        (["test.parquet", "train.parquet"], ["test.parquet"]),
        (
            ["test-1.parquet", "test-0.parquet", "train-0.parquet"],
            ["test-0.parquet", "test-1.parquet"],
        ),
        (["test/only.jsonl", "train/only.jsonl"], ["test/only.jsonl"]),
        (["data-0.arrow", "data-1.arrow", "dataset_info.json"], ["data-0.arrow", "data-1.arrow"]),
        (["math/anything.json", "math/README.md"], ["math/anything.json"]),
    ],
)
def test_the_files_of_a_set_in_a_folder(tmp_path, present, found):
    for name in present:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = find_files(tmp_path, names=("math500", "math"), split="test")
    assert files == [tmp_path / name for name in found]


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (["aime25.jsonl"], r"no file called math500 .*there is aime25\.jsonl"),
        (["a.jsonl", "b.jsonl"], r"no file called math500 .*there is a\.jsonl, b\.jsonl"),
        ([], "there is nothing"),
        (["math500.json", "math500.jsonl"], "candidates; give one"),
    ],
)
def test_no_or_more_than_one_candidate(tmp_path, present, message):
    for name in present:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        find_files(tmp_path, names=("math500",), split="test")
    with pytest.raises(ValueError, match="no such file or folder"):
        find_files(tmp_path / "absent", names=("math500",), split="test")
