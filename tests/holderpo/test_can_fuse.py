"""Where the loss is computed by its kernels, and what happens where they do not work."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from holderpo import fused_surrogate, objective
from holderpo.fused_kernels import FIRST_TOTAL, NUM_NUMBERS
from holderpo.objective import TOTALS, clipped_surrogate


def tensor(dtype=torch.float32, place="cuda:0"):
    return SimpleNamespace(device=torch.device(place), dtype=dtype)


def test_single_and_half_precision_on_one_gpu_are_fused(monkeypatch):
    monkeypatch.setattr(fused_surrogate, "works_on", lambda device: True)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert fused_surrogate.can_fuse(tensor(dtype), tensor(dtype))
    for one, other in [
        (tensor(place="cpu"), tensor(place="cpu")),
        (tensor(torch.float64), tensor(torch.float64)),
        (tensor(), tensor(torch.float64)),
        (tensor(), tensor(place="cpu")),
        (tensor(), tensor(place="cuda:1")),
    ]:
        assert not fused_surrogate.can_fuse(one, other)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not fused_surrogate.can_fuse(tensor(), tensor())


def test_where_the_kernels_do_not_work_a_warning_says_so_once():
    """Here, for want of a GPU that Triton could build them for."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    fused_surrogate.works_on.cache_clear()
    with pytest.warns(UserWarning, match=r"the fused loss does not work here \(.+\), plain"):
        assert not fused_surrogate.works_on(torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fused_surrogate.works_on(torch.device("cpu"))


def test_fused_false_and_an_aggregate_of_ones_own_are_computed_plainly(monkeypatch):
    monkeypatch.setattr(objective, "can_fuse", lambda *_: True)
    monkeypatch.setattr(objective, "fused_surrogate", lambda *_: pytest.fail("fused"))
    arguments = (torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), torch.ones(2, 3))
    clip = {"clip_low": 0.2, "clip_high": 0.2}
    clipped_surrogate(*arguments, p=1.0, fused=False, **clip)
    clipped_surrogate(*arguments, p=1.0, aggregate=lambda ratio, mask, p: ratio.sum(-1), **clip)


def test_the_kernels_sum_what_the_totals_name():
    assert len(TOTALS) == NUM_NUMBERS - FIRST_TOTAL
