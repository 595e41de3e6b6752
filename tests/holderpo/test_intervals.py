"""Intervals against published values, and the picture."""

import pytest

from holderpo.intervals import wilson_interval
from holderpo.studies.diagrams import Diagram, draw_diagrams


def test_wilson_interval_matches_newcombes_table():
    # Newcombe (1998), Table I, score method: 81/263, 15/148, 0/20, 1/29.
    expected = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (correct, total), interval in expected.items():
        assert wilson_interval(correct, total) == pytest.approx(interval, abs=6e-5)


@pytest.mark.parametrize("counts", [(1, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="num_correct"):
        wilson_interval(*counts)


def test_picture_is_written_even_where_a_metric_is_missing(tmp_path):
    rows = [{"step": 0, "b": 1.0}, {"step": 1, "a": 0.5}, {"step": 2, "a": 0.7}]
    diagrams = [Diagram("first", {"a": "a", "b": "b"}), Diagram("second", {"nowhere": "n"})]
    draw_diagrams(rows, diagrams, tmp_path / "picture.png", title="run")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
