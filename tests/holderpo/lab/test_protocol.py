"""Protocols name their runs; a sweep makes those that are missing, once."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from holderpo.lab.__main__ import main
from holderpo.lab.cell_results import read_cells
from holderpo.lab.protocol import read_protocol
from tests.holderpo.lab.cells import CONSTANT, arm, cell

STUDY = Path(__file__).parents[3] / "docs/study/protocol.yaml"
SMALL = {
    "tasks": {"copying": {"_target_": "tests.holderpo.lab.copying.Copying"}},
    "regimes": {
        "quick": {
            **{"learning_rate": 0.01, "num_prompts": 4, "group_size": 4, "num_updates": 2},
            **{"num_rounds": 3, "warm_up_rounds": 1},
        }
    },
    "arms": {"one": {"p": {"_target_": CONSTANT, "value": 1.0}}, "grpo": {"clip_level": "token"}},
    "parts": {
        "a": {
            **{"what": "whether it runs", "task": "copying", "arms": ["one", "grpo"]},
            **{"regimes": ["quick"], "clip_ranges": [0.1], "seeds": [0, 1]},
        }
    },
}
SMALL["arms"]["grpo"]["p"] = SMALL["arms"]["one"]["p"]


def write(folder, **changes):
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def test_the_study_has_its_runs():
    protocol = read_protocol(STUDY)
    assert len(protocol.parts["orders"]) == 10 * 2 * 2 * 8 * 2
    cells = [one for part in protocol.parts.values() for one in part]
    assert len({one.digest for one in cells}) == len(cells)
    first = protocol.parts["orders"][:20]
    assert {(one.seed, one.model_seed) for one in first} == {(0, 0)}, "whole pairs first"


def test_a_run_is_known_by_all_of_its_settings():
    one = cell()
    changed = [
        cell(seed=1),
        cell(num_rounds=5),
        cell(arm(value=2.0)),
        cell(task={"max_response_tokens": 4}),
        dataclasses.replace(one, model_seed=1),
    ]
    assert len({each.digest for each in [one, *changed]}) == 6
    assert cell().digest == one.digest


def test_a_sweep_makes_what_is_missing_and_goes_on(tmp_path, capsys):
    options = ["--protocol", str(write(tmp_path)), "--out", str(tmp_path / "results.jsonl")]
    options += ["--models", str(tmp_path / "models"), "--processes", "2"]
    assert main(["sweep", *options]) == 0
    results = read_cells(tmp_path / "results.jsonl")
    assert {(r.arm, r.seed) for r in results} == {
        (name, seed) for name in ("one@0.1", "grpo@0.1") for seed in (0, 1)
    }
    for result in results:
        assert len(result.curves["reward"]) == 3
        assert result.windows["all"]["reward"] == pytest.approx(
            sum(result.curves["reward"]) / 3, abs=1e-3
        )
    # A run that was cut off while its line was written is made again, the others are not.
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text("".join(lines[:-1]) + lines[-1][:40])
    assert main(["sweep", *options]) == 0
    again = read_cells(tmp_path / "results.jsonl")
    assert [one.digest for one in again[:3]] == [one.digest for one in results[:3]]
    assert again[3].curves == results[3].curves


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"regimes": {"quick": {"learning_rat": 1}}}, "regimes.quick.learning_rat: unknown"),
        ({"regimes": {"quick": {"learning_rate": 0}}}, "regime.learning_rate: 0; give a number"),
        ({"arms": {"one": {}, "grpo": {}}}, "one@0.1.p._target_: None; choose"),
        ({"parts": {"a": {**SMALL["parts"]["a"], "arms": ["two"]}}}, "parts.a.arms: 'two'; give"),
        ({"parts": {"a": {"what": "x"}}}, "parts.a.arms: missing"),
        ({"tasks": None}, "tasks: missing; give a section"),
    ],
)
def test_a_wrong_protocol_is_refused_in_one_line(tmp_path, capsys, changes, expected):
    assert main(["sweep", "--protocol", str(write(tmp_path, **changes)), "--dry-run"]) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert "Traceback" not in shown


def test_a_run_shows_its_rounds(tmp_path, capsys):
    options = ["--protocol", str(write(tmp_path)), "--task", "copying", "--regime", "quick"]
    options += ["--arm", "one", "--models", str(tmp_path), "--clip", "0.1"]
    assert main(["run", *options, "--p", f"{{_target_: {CONSTANT}, value: -1.0}}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10] for line in lines[:3]] == ["round    1", "round    2", "round    3"]
    assert "p -1.00" in lines[0]
    assert lines[3].startswith("held-out")
    assert main(["run", *options, "--arm", "nothing"]) == 2
