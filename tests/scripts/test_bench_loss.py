"""The benchmark measures what it says: memory on known cases, and the same loss everywhere."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

# scripts/ is no package, and an installed one of that name hides it.
PATH = Path(__file__).parents[2] / "scripts" / "bench_loss.py"
SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
script = importlib.util.module_from_spec(SPEC)
# Where its dataclass looks for the names in its annotations.
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)


def small_data():
    return script.make_data(6, 40, torch.float32, torch.device("cpu"))


def mebibytes(count):
    return torch.empty(count * script.MIB, dtype=torch.uint8)


def ten():
    mebibytes(10)


def ten_and_five_then_five_and_seven():
    first = mebibytes(10)
    second = mebibytes(5)
    del first
    third = mebibytes(7)
    return second, third


def three_of_four_with_its_gradient():
    leaf = torch.zeros(script.MIB, requires_grad=True)
    # The exponential is kept for the backward pass, which makes the gradient.
    leaf.exp().sum().backward()


@pytest.mark.parametrize(
    ("call", "expected"),
    [(ten, 10), (ten_and_five_then_five_and_seven, 15), (three_of_four_with_its_gradient, 12)],
)
def test_peak_memory_on_known_cases(call, expected):
    peak = script.peak_bytes(call, small_data()) / script.MIB
    assert peak == pytest.approx(expected, abs=1e-3)


def test_candidates_that_should_be_one_loss_are():
    data, losses = small_data(), script.candidates(plain=False)
    values = {name: loss(data).item() for name, loss in losses.items()}
    ours = values["holder p=2, sequence"]
    assert values["bare surrogate p=2, sequence"] == pytest.approx(ours, rel=1e-6)
    assert values["released code p=2"] == pytest.approx(ours, rel=1e-5)
    assert values["holder p=0, sequence"] == pytest.approx(values["verl gspo"], rel=1e-5)


def test_a_run_prints_and_writes_every_candidate(tmp_path, monkeypatch, capsys):
    words = f"bench_loss.py --rounds 2 --warm-up 1 --shapes 6x40 --out {tmp_path / 'out.json'}"
    monkeypatch.setattr(sys, "argv", words.split())
    script.main()
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    shown = capsys.readouterr().out
    assert len(results) == 2 * len(script.candidates(plain=False))
    for result in results:
        row = rf"\| 6 x 40 \| {result['dtype']} +\| {re.escape(result['candidate'])} +\|"
        assert re.search(row, shown)
        assert max(map(len, shown.splitlines())) <= 80
        assert result["ratio_low"] <= result["ratio_median"] <= result["ratio_high"]
        assert result["peak_mib"] > 0


@pytest.mark.parametrize("text", ["128", "0x16", "8x3", "axb"])
def test_a_shape_that_is_none_is_refused(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_loss.py", "--shapes", text])
    with pytest.raises(SystemExit):
        script.main()
    assert "responses x tokens" in capsys.readouterr().err
