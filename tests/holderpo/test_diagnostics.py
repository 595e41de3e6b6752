"""Row diagnostics on rows with known answers, and the table of metrics."""

import itertools
import math

import pytest
import torch

from holderpo.diagnostics import METRICS, describe_rows


def test_known_answers():
    log_ratio = torch.tensor(
        [
            [0.0, 0.0, 0.0, 0.0],
            [math.log(3), 0.0, 9.0, 9.0],
            [5.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 1.0],
        ]
    )
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    rows = describe_rows(log_ratio, mask, 1.0)
    # Weights of the second row: 3/4 and 1/4.
    assert rows.ess_frac.tolist() == pytest.approx([1.0, 1 / (2 * (9 / 16 + 1 / 16)), 1.0, 0.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert rows.weight_entropy_frac.tolist() == pytest.approx([1.0, entropy, 1.0, 0.0])
    assert rows.log_ratio_std.tolist() == pytest.approx([0.0, math.log(3) / 2, 0.0, 0.0])
    assert rows.log_ratio_max.tolist() == pytest.approx([0.0, math.log(3), 5.0, 0.0])
    assert rows.log_ratio_min.tolist() == pytest.approx([0.0, 0.0, 5.0, 0.0])


def test_ess_falls_with_the_magnitude_of_p():
    log_ratio = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 20)
    curve = [describe_rows(log_ratio, mask, p).ess_frac for p in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert (curve[0] == 1).all()
    for larger, smaller in itertools.pairwise(curve):
        assert (smaller < larger).all()


def test_names_are_unique_and_in_the_projects_form():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.count("/") == 1 for name in names)
