"""Broken tables: each gives one clear line before anything starts, with field, file, rows, fix."""

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.parquet import write_manifest, write_rows
from recipe.holderpo.checks.data import batch_warnings, look_at_data
from tests.recipe.composing import composed
from tests.recipe.data_files import NUM_TRAIN, rows

MATH = "reward.custom_reward_function.path=pkg://holderpo.rewards.math"
OWN = "reward.custom_reward_function.path=my_reward.py"
FIELD = "data.train_files"


def found(folder, *overrides, train="train.parquet", heldout="heldout.parquet"):
    """What is found in the files of a folder, which are good where nothing else is there."""
    for name in ("train.parquet", "heldout.parquet"):
        if not (folder / name).exists() and not os.path.lexists(folder / name):
            write_rows(folder / name, rows(NUM_TRAIN))
    files = [f"{FIELD}={folder}/{train}", f"data.val_files={folder}/{heldout}"]
    return look_at_data(composed("demo", [*files, *overrides]))


def changed(**columns):
    """Good rows, of which rows 3 and 5 have other values in some columns."""
    table = rows(NUM_TRAIN)
    for number in (3, 5):
        table[number] = {**table[number], **columns}
    return table


def without(*names):
    return [{k: v for k, v in row.items() if k not in names} for row in rows(NUM_TRAIN)]


def everywhere(**columns):
    return [{**row, **columns} for row in rows(NUM_TRAIN)]


def truth(value):
    return {"style": "rule", "ground_truth": value}


def said(content, role="user"):
    return [{"role": role, "content": content}]


def only(line):
    return f"row 3 of {NUM_TRAIN}" in line or f"2 of {NUM_TRAIN} rows (3, 5)" in line


ALL = f"in all {NUM_TRAIN} rows (0, 1, 2, 3, 4, ...)"
TWO = f"in 2 of {NUM_TRAIN} rows (3, 5)"

BROKEN_ROWS = {
    "prompt missing": (without("prompt"), "no column 'prompt'; its columns are data_source, rew"),
    "prompt null": (changed(prompt=None), f"prompt is null {TWO}; give a list of messages"),
    "prompt a text": (
        everywhere(prompt="1+1="),
        f"prompt is a text, not a list of messages, {ALL}",
    ),
    "prompt a number": (everywhere(prompt=7), "prompt is a number, not a list of messages, in all"),
    "prompt an object": (everywhere(prompt={"role": "user"}), "prompt is an object, not a list"),
    "prompt empty": (changed(prompt=[]), f"prompt has no messages {TWO}"),
    "prompt of texts": (everywhere(prompt=["1+1="]), "a message that is a text, no object, in all"),
    "message null": (changed(prompt=[None]), f"a message that is null, no object, {TWO}"),
    "no role": (everywhere(prompt=[{"content": "x"}]), f"has a message without role {ALL}"),
    "role null": (changed(prompt=said("x", None)), f"has a message without role {TWO}"),
    "role blank": (changed(prompt=said("x", " ")), f"has a message without role {TWO}"),
    "no content": (everywhere(prompt=[{"role": "user"}]), f"has a message without content {ALL}"),
    "content null": (changed(prompt=said(None)), f"has a message without content {TWO}"),
    "content blank": (changed(prompt=said(" \n")), f"has a message with empty content {TWO}"),
    "content a number": (everywhere(prompt=said(7)), "has a message whose content is a number in"),
    "content no parts": (everywhere(prompt=said([])), "has a message with empty content in all"),
    "reward_model missing": (without("reward_model"), "no column 'reward_model'; its columns are"),
    "reward_model null": (changed(reward_model=None), f"reward_model is null {TWO}; give {{"),
    "reward_model a text": (everywhere(reward_model="2"), "reward_model is a text, no object, in"),
    "no ground_truth": (everywhere(reward_model={"style": "rule"}), "has no ground_truth in all"),
    "truth null": (changed(reward_model=truth(None)), f"ground_truth is null {TWO}; give the rig"),
    "truth empty": (changed(reward_model=truth("")), f"reward_model.ground_truth is empty {TWO}"),
    "truth blank": (
        changed(reward_model=truth(" \t")),
        f"reward_model.ground_truth is blank {TWO}",
    ),
    "truth a number": (everywhere(reward_model=truth(2)), "ground_truth is a number in all"),
    "truth a bool": (everywhere(reward_model=truth(True)), "ground_truth is true or false in all"),
    "truth a list": (everywhere(reward_model=truth(["2"])), "ground_truth is a list in all"),
    "truth no list": (everywhere(reward_model=truth([])), "reward_model.ground_truth is empty in"),
    "source missing": (without("data_source"), "no column 'data_source'; its columns are prompt"),
    "source null": (changed(data_source=None), f"data_source is null {TWO}; give the name"),
    "source blank": (changed(data_source=""), f"data_source is empty {TWO}; give the name"),
    "source a list": (everywhere(data_source=["a"]), "data_source is a list, no name, in all"),
    "extra_info a text": (everywhere(extra_info="{}"), "extra_info is a text, no object, in all"),
    "agent_name unknown": (
        everywhere(agent_name="mine"),
        "agent_name is 'mine', no agent loop, in",
    ),
    "agent_name null": (everywhere(agent_name=None), "agent_name is empty in all"),
    "all null": ([dict.fromkeys(row) for row in rows(NUM_TRAIN)], "prompt is null in all"),
    "too few": (rows(31), "data.train_batch_size: 32, but data.train_files has 31 rows to train"),
}
OF_MATH = {
    "null in a list": (truth([None]), f"ground_truth is a list with an empty element {ALL}"),
    "blank in a list": (truth(["2", " "]), f"ground_truth is a list with an empty element {ALL}"),
    "not a number": (truth(float("nan")), f"ground_truth is nan {ALL}"),
    "an object": (truth({"a": "2"}), f"reward_model.ground_truth is an object {ALL}; pkg://"),
    "a list of lists": (truth([["2"]]), f"ground_truth is a list with a list {ALL}"),
}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_broken_rows_give_one_line(name, tmp_path):
    table, expected = BROKEN_ROWS[name]
    pq.write_table(table_of(table), tmp_path / "train.parquet")
    problems = found(tmp_path).problems
    if name == "all null":
        assert [line.split(": ")[2].split()[0] for line in problems] == [
            *("prompt", "data_source", "reward_model")
        ]
    else:
        assert len(problems) == 1
    assert expected in problems[0]
    if name != "too few":
        assert problems[0].startswith(f"{FIELD}: {tmp_path}/train.parquet: ")
    assert "; " in problems[0]


def table_of(table):
    """Also of columns that are null here and there."""
    return pa.table({name: pa.array([row[name] for row in table]) for name in table[0]})


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_json_lines_are_judged_alike(name, tmp_path):
    table, expected = BROKEN_ROWS[name]
    text = "".join(json.dumps(row) + "\n" for row in table)
    (tmp_path / "train.jsonl").write_text(text)
    problems = found(tmp_path, train="train.jsonl").problems
    expected = expected.replace("its columns are", "")
    assert expected.partition("; ")[0] in problems[0]


@pytest.mark.parametrize("name", OF_MATH)
def test_what_the_grader_cannot_compare_with(name, tmp_path):
    value, expected = OF_MATH[name]
    write_rows(tmp_path / "train.parquet", everywhere(reward_model=value))
    (line,) = found(tmp_path, MATH).problems
    assert expected in line


@pytest.mark.parametrize("value", ["2", ["2", "two"], 2, 2.5, [2]])
def test_what_the_grader_can_compare_with(value, tmp_path):
    write_rows(tmp_path / "train.parquet", everywhere(reward_model=truth(value)))
    assert found(tmp_path, MATH).problems == []


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def good_bytes(folder):
    write_rows(folder / "good.parquet", rows(NUM_TRAIN))
    return (folder / "good.parquet").read_bytes()


def broken_page(content):
    """The first column's page is overwritten: its dictionary ends nowhere."""
    return content[:4] + b"\xff" * 60 + content[64:]


ROW = json.dumps(rows(1)[0])
BROKEN_FILES = {
    "empty.parquet": ("", "is not readable as parquet ("),
    "csv.parquet": ("prompt,answer\n1+1=,2\n", "is not readable as parquet ("),
    "cut_off.parquet": (lambda good: good[: len(good) // 2], "is not readable as parquet ("),
    "no_head.parquet": (lambda good: good[20:], "is not readable as parquet ("),
    "page.parquet": (broken_page, "is not readable as parquet ("),
    "rows.csv": ("prompt,answer\n1+1=,2\n", "ends with '.csv'; verl reads .parquet, .json, .jsonl"),
    "rows": (ROW, "ends with ''; verl reads"),
    "rows.PARQUET": (lambda good: good, "ends with '.PARQUET'; verl reads"),
    "empty.jsonl": ("", "has no rows; prepare it (python -m data_prep.column_addition"),
    "blank.jsonl": ("\n \n", "has no rows"),
    "none.json": ("[]", "has no rows"),
    "line.jsonl": (f"{ROW}\n\n{{broken\n{ROW}\n", "line 3 is no JSON (Expecting property name"),
    "text.jsonl": (f'{ROW}\n"text"\n', "line 2 is no object with columns; mend it"),
    "null.jsonl": (f"null\n{ROW}\n", "line 1 is no object with columns; mend it"),
    "list.json": (f"[{ROW}, 7]", "row 1 is no object with columns"),
    "open.json": (f"[{ROW},", "is no JSON ("),
    "latin.jsonl": (ROW.replace("1+1", "é").encode("latin-1"), "holds text that is not UTF-8"),
    "data.json": (f'{{"data": [{ROW}]}}', "no column 'prompt'; its columns are data; write it"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files_give_one_line(name, tmp_path):
    content, expected = BROKEN_FILES[name]
    write(tmp_path / name, content(good_bytes(tmp_path)) if callable(content) else content)
    line = found(tmp_path, train=name).problems[0]
    assert line.startswith(f"{FIELD}: {tmp_path}/{name}: ")
    assert expected in line
    assert "\n" not in line


def test_files_of_other_kinds(tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    os.mkfifo(tmp_path / "pipe.parquet")
    # A file that exists and cannot be read, also by root.
    (tmp_path / "unreadable.parquet").symlink_to("/proc/self/mem")
    (tmp_path / "a[1]").mkdir()
    write_rows(tmp_path / "a[1]" / "rows.parquet", rows(NUM_TRAIN))
    for name, expected in {
        "folder.parquet": "is a folder; give the file",
        "pipe.parquet": "is no ordinary file",
        "unreadable.parquet": "is not readable as parquet (",
        "a[1]/rows.parquet": "verl takes [ for a pattern of names; rename",
    }.items():
        (line,) = found(tmp_path, f"{FIELD}='{tmp_path}/{name}'").problems
        assert expected in line


def test_no_rows_and_no_files(tmp_path):
    pq.write_table(table_of(rows(2)).slice(0, 0), tmp_path / "train.parquet")
    (line,) = found(tmp_path).problems
    assert "has no rows; prepare it" in line
    assert f"{FIELD}: []; give a file" in found(tmp_path, f"{FIELD}=[]").problems


def test_a_tilde_is_not_replaced_by_verl(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    problems = found(tmp_path, f"{FIELD}='~/train.parquet'").problems
    assert (
        f"{FIELD}: ~/train.parquet: verl does not replace ~; give {tmp_path}/train" in problems[0]
    )


def test_two_columns_of_one_name(tmp_path):
    table = table_of(rows(NUM_TRAIN))
    pq.write_table(table.append_column("prompt", table["prompt"]), tmp_path / "train.parquet")
    (line,) = found(tmp_path).problems
    assert "has two columns called 'prompt'; rename one" in line


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (everywhere(reward_model=truth(["2"])), "column reward_model.ground_truth holds lists of"),
        (everywhere(prompt=[{"role": "user", "content": "x", "name": "n"}]), "column prompt holds"),
        (everywhere(data_source=1), "column data_source holds int64, in the files before it text"),
        (everywhere(extra_info={"index": "0"}), "column extra_info.index holds text, in the files"),
        (everywhere(extra_info={"more": 1}), None),
        (without("extra_info"), None),
        (everywhere(extra_info=None), None),
    ],
)
def test_files_that_verl_cannot_put_together(second, expected, tmp_path):
    from verl.utils.dataset.rl_dataset import datasets as of_verl

    write_rows(tmp_path / "train.parquet", rows(NUM_TRAIN))
    write_rows(tmp_path / "more.parquet", second)
    both = [f"{tmp_path}/train.parquet", f"{tmp_path}/more.parquet"]
    problems = found(tmp_path, f"{FIELD}=[{','.join(both)}]", MATH).problems
    parts = [of_verl.load_dataset("parquet", data_files=path)["train"] for path in both]
    if expected is None:
        assert problems == []
        assert len(of_verl.concatenate_datasets(parts)) == 2 * NUM_TRAIN
    else:
        assert any(f"more.parquet: {expected}" in line for line in problems)
        with pytest.raises(ValueError, match="can't be aligned"):
            of_verl.concatenate_datasets(parts)


def test_an_empty_column_before_one_with_fields(tmp_path):
    """verl's reader stops there; the other way round it does not."""
    write_rows(tmp_path / "train.parquet", everywhere(extra_info=None))
    write_rows(tmp_path / "more.parquet", rows(NUM_TRAIN))
    files = [f"{tmp_path}/train.parquet", f"{tmp_path}/more.parquet"]
    (line,) = found(tmp_path, f"{FIELD}=[{','.join(files)}]").problems
    assert "more.parquet: column extra_info holds objects with split, index, in the files" in line
    assert found(tmp_path, f"{FIELD}=[{','.join(files[::-1])}]").problems == []


def test_a_column_of_categories_goes_with_one_of_texts(tmp_path):
    table = table_of(rows(NUM_TRAIN))
    pq.write_table(table, tmp_path / "train.parquet")
    categories = table["data_source"].dictionary_encode()
    pq.write_table(table.set_column(0, "data_source", categories), tmp_path / "more.parquet")
    files = f"{tmp_path}/train.parquet,{tmp_path}/more.parquet"
    assert found(tmp_path, f"{FIELD}=[{files}]").problems == []


def test_json_texts_that_become_dates_or_numbers(tmp_path):
    """What verl's reader makes of them is what is judged."""
    dates = everywhere(reward_model=truth("2020-01-01"))
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, dates)))
    (line,) = found(tmp_path, MATH, train="train.jsonl").problems
    assert "reward_model.ground_truth is read as a date in all" in line
    mixed = changed(reward_model=truth(["2"]))
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, mixed)))
    (line,) = found(tmp_path, MATH, train="train.jsonl").problems
    assert f"ground_truth is a list {TWO} and a text in others; write one type" in line


@pytest.mark.parametrize(
    ("table", "overrides"),
    [
        (rows(NUM_TRAIN), []),
        (without("extra_info"), []),
        (everywhere(extra_info=None), []),
        # An empty system message takes the place of the template's own.
        (everywhere(prompt=[*said("", "system"), *said("1+1=")]), []),
        (everywhere(prompt=said([{"type": "text", "text": "1+1="}])), []),
        (everywhere(data_source=7), []),
        (everywhere(reward_model=truth({"tests": "x"})), [OWN]),
        (
            without("reward_model", "data_source"),
            ["reward.reward_model.enable=true", "reward.custom_reward_function.path=null"],
        ),
        (without("reward_model"), ["actor_rollout_ref.rollout.agent.default_agent_loop=mine"]),
        (everywhere(agent_name="single_turn_agent"), []),
        (
            everywhere(agent_name="mine", reward_model=None),
            ["actor_rollout_ref.rollout.agent.agent_loop_config_path=loops.yaml"],
        ),
        (rows(31), ["data.gen_batch_size=16"]),
    ],
)
def test_what_works_is_not_refused(table, overrides, tmp_path):
    pq.write_table(table_of(table), tmp_path / "train.parquet")
    assert found(tmp_path, *overrides).problems == []


def test_the_prompts_column_may_have_another_name(tmp_path):
    line = found(tmp_path, "data.prompt_key=question").problems[0]
    assert "no column 'question'; its columns are data_source, prompt, rew" in line
    for name in ("train.parquet", "heldout.parquet"):
        write_rows(tmp_path / name, everywhere(question=said("1+1=")))
    assert found(tmp_path, "data.prompt_key=question").problems == []


def test_a_class_of_the_users_may_read_anything(tmp_path):
    write(tmp_path / "train.parquet", "nonsense")
    data = found(tmp_path, "data.custom_cls.path=mine.py")
    assert data.problems == []
    assert data.warnings == ["data.custom_cls.path: mine.py reads the data; they are not looked at"]


def test_a_function_of_the_users_need_not_read_the_truth(tmp_path):
    write_rows(tmp_path / "train.parquet", everywhere(reward_model=truth("")))
    data = found(tmp_path, OWN)
    assert data.problems == []
    assert f"ground_truth is empty {ALL}: there is no right response" in data.warnings[0]
    write_rows(tmp_path / "train.parquet", changed(reward_model=truth("")))
    assert f"ground_truth is empty {TWO}; give" in found(tmp_path, OWN).problems[0]


def test_rows_kept_without_an_answer_on_purpose(tmp_path):
    """``data_prep --on-problem-rows keep``: the paper's rows, two of which have none."""
    table = [{**row, "reward_model": truth(["2"])} for row in rows(NUM_TRAIN)]
    for number in (3, 5):
        table[number]["reward_model"] = truth([])
    entry = write_rows(tmp_path / "train.parquet", table)
    assert f"ground_truth is empty {TWO}; give" in found(tmp_path, MATH).problems[0]
    kept = {"checks": {"empty": {"action": "keep"}}}
    write_manifest(tmp_path, [entry | kept])
    data = found(tmp_path, MATH)
    assert data.problems == []
    assert f"reward_model.ground_truth is empty {TWO}" in data.warnings[0]
    # Of another file than the one that is there.
    write_manifest(tmp_path, [entry | kept | {"sha256": hashlib.sha256(b"").hexdigest()}])
    assert len(found(tmp_path, MATH).problems) == 1


def test_sources_that_verls_own_reward_function_does_not_know(tmp_path):
    (first, second) = found(tmp_path, "reward.custom_reward_function.path=null").problems
    assert f"data_source 'columns' {ALL} is unknown to verl's own reward function" in first
    assert second.startswith("data.val_files: ")
    for name in ("openai/gsm8k", "aime_of_some_year"):
        write_rows(tmp_path / "train.parquet", everywhere(data_source=name))
        problems = found(tmp_path, "reward.custom_reward_function.path=null").problems
        assert [line.partition(":")[0] for line in problems] == ["data.val_files"]


def test_verls_own_reward_function_knows_these():
    import ast
    import inspect

    from verl.utils.reward_score import default_compute_score

    from recipe.holderpo.checks.ground_truth import VERL_SOURCES

    tree = ast.parse(inspect.getsource(default_compute_score))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    names = {
        part.value
        for node in compared
        if getattr(node.left, "id", "") == "data_source"
        for side in node.comparators
        for part in ast.walk(side)
        if isinstance(part, ast.Constant)
    }
    assert names == set(VERL_SOURCES)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.train_max_samples=31"], "data.train_batch_size: 32, but data.train_files has 31"),
        (["data.gen_batch_size=200"], "data.gen_batch_size: 200, but data.train_files has 128"),
        (["data.train_max_samples=32"], None),
        (["data.train_max_samples=-1"], None),
        (["data.train_max_samples=1000"], None),
        (["data.train_max_samples=8", "algorithm.filter_groups.enable=true"], None),
    ],
)
def test_a_batch_needs_as_many_rows(overrides, expected, tmp_path):
    problems = found(tmp_path, *overrides).problems
    if expected is None:
        assert problems == []
    else:
        assert expected in problems[0]


def test_rows_that_come_twice_or_never(tmp_path):
    overrides = ["data.train_max_samples=20", "data.gen_batch_size=16", "data.shuffle=false"]
    data = found(tmp_path, *overrides)
    once_more, never = batch_warnings(composed("demo", overrides), data)
    assert once_more.endswith("has 20 rows: prompts come more than once in a round")
    assert never == (
        "data.shuffle: false; the last 4 of 20 rows are never trained on, as verl takes 16 at a "
        "time"
    )
    assert list(batch_warnings(composed("demo"), found(tmp_path))) == []


def test_files_named_twice_and_held_out_files_that_are_trained_on(tmp_path):
    path = f"{tmp_path}/train.parquet"
    first, second = found(tmp_path, f"{FIELD}=[{path},{path}]", f"data.val_files={path}").warnings
    assert first == f"{FIELD}: {path} is named 2 times; its rows count as often"
    assert second == (
        f"data.val_files: {path} is trained on too: its accuracy is not that of held-out data"
    )


def test_of_a_large_file_a_sample_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("recipe.holderpo.checks.tables.MOST_ROWS", 40)
    table = changed(prompt=[])
    pq.write_table(table_of(table), tmp_path / "train.parquet", row_group_size=32)
    data = found(tmp_path)
    assert "prompt has no messages in 2 of 40 rows (3, 5)" in data.problems[0]
    (split,) = [split for field, split in data.splits.items() if field == FIELD]
    assert list(split.tables[0].numbers) == [g * 32 + i for g in range(4) for i in range(10)]
    assert any("40 of 128 rows are looked at" in line for line in data.warnings)


def test_rows_of_another_machine_are_not_looked_at(tmp_path):
    data = found(tmp_path, f"{FIELD}=hdfs://there/rows.parquet")
    assert data.problems == []
    assert "hdfs://there/rows.parquet is not on this machine" in data.warnings[0]


def test_the_rows_that_verl_draws_are_the_ones_that_count(tmp_path):
    from verl.utils.dataset.rl_dataset import RLHFDataset

    write_rows(tmp_path / "train.parquet", rows(NUM_TRAIN))
    overrides = ["data.train_max_samples=10", f"{FIELD}={tmp_path}/train.parquet"]
    config = composed("demo", [*overrides, "data.shuffle=true"])
    taken = RLHFDataset(config.data.train_files, None, config.data, max_samples=10)
    (used,) = found(tmp_path, *overrides, "data.shuffle=true").splits[FIELD].used
    assert list(used) == sorted(row["extra_info"]["index"] for row in taken.dataframe)
    assert Path(config.data.train_files).exists()
