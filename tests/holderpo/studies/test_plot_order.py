"""The picture of a schedule, and of the order that a run has used."""

import json
import runpy
import sys

import pytest

from holderpo.studies.plot_order import main as plot


def test_module_draws_a_schedule(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "p.svg"
    arguments = ["--start", "2", "--end", "-2", "--shape", "cubic", "--rounds", "20"]
    module = "holderpo.studies.plot_order"
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--out", str(picture)])
    monkeypatch.delitem(sys.modules, module)
    runpy.run_module(module, run_name="__main__")
    assert capsys.readouterr().out.strip() == str(picture)
    assert "<svg" in picture.read_text()


@pytest.mark.parametrize("orders", [["holder/p"], ["holder/p_positive", "holder/p_negative"]])
def test_a_runs_order_is_drawn_beside_reward_and_ess(tmp_path, monkeypatch, orders):
    drawn = {}

    def draw(rows, diagrams, path, *, title):
        drawn.update(rows=rows, diagrams=diagrams, path=path)

    monkeypatch.setattr("holderpo.studies.plot_order.draw_diagrams", draw)
    rows = [
        {
            "step": step,
            "critic/rewards/mean": 0.5,
            "holder/ess_frac": 0.9,
            **dict.fromkeys(orders, 1),
        }
        for step in (1, 2)
    ]
    lines = [json.dumps(row) for row in [{"step": 0, "val/acc": 0.1}, *rows]]
    # The run was killed while it wrote.
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "hol']))
    for run in (tmp_path, tmp_path / "metrics.jsonl"):
        plot(["--run", str(run), "--out", str(tmp_path / "p.png")])
        assert drawn["rows"] == rows, "the validation before training has no order"
        shown = [name for diagram in drawn["diagrams"] for name in diagram.curves]
        assert shown == [*sorted(orders), "critic/rewards/mean", "holder/ess_frac"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--start", "1", "--end", "0", "--shape", "power", "--out", "p.png"],
            "--exponent: None; give",
        ),
        (["--start", "1", "--out", "p.png"], "--end: missing; give --start and --end, or --value"),
        (
            ["--value", "1", "--end", "0", "--out", "p.png"],
            "leave out ['end']",
        ),
        (["--start", "2", "--end", "0", "--out", "p.jpg"], "--out: p.jpg; give a file ending in"),
        (["--start", "2", "--end", "0", "--rounds", "0", "--out", "p.png"], "--rounds: 0"),
        (["--start", "2", "--steps", "5.5", "--out", "p.png"], "--steps: invalid number of rounds"),
        (["--run", "nowhere", "--out", "p.png"], "nowhere does not exist"),
        (["--run", "nowhere", "--start", "1", "--out", "p.png"], "leave out ['start']"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_exit_2(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        plot([*arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": 1, "loss": 0.5}', "no step has holder/p"),
        ('{"step": 1\n{"loss": 2}', "line 1 of 2 is broken"),
        ('{"loss": 1}', "no step in it"),
    ],
)
def test_a_file_without_an_order_is_refused(text, message, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        plot(["--run", str(tmp_path), "--out", str(tmp_path / "p.png")])
    assert message in capsys.readouterr().err


def test_a_value_that_is_not_finite_is_marked_and_leaves_a_gap(tmp_path):
    """The curve of three steps is two points; a cross shows where the third would be."""
    rows = [{"step": step, "holder/p": value} for step, value in ((1, 2.0), (2, "nan"), (3, 1.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pictures = []
    for name in ("a", "b"):
        pictures.append(tmp_path / f"{name}.svg")
        plot(["--run", str(tmp_path), "--out", str(pictures[-1])])
        (tmp_path / "metrics.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows if row["holder/p"] != "nan")
        )
    with_gap, without = (picture.read_text() for picture in pictures)
    assert "not finite" in with_gap
    assert "not finite" not in without


def test_a_run_without_a_finite_order_is_drawn_all_the_same(tmp_path):
    rows = [{"step": step, "holder/p": value} for step, value in ((1, "inf"), (2, "-inf"))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot(["--run", str(tmp_path), "--out", str(tmp_path / "p.svg")])
    assert "not finite" in (tmp_path / "p.svg").read_text()
