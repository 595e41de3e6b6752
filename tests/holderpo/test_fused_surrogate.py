"""The kernels of a GPU against the plain passes in float64."""

import math
import os

import pytest
import torch

from holderpo import fused_surrogate, objective
from holderpo.objective import CLIP_LEVELS, clipped_surrogate

# Triton decides when it is imported; test_fused_interpreted.py runs this file so.
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ORDERS = [2.0, 0.0, -1.5, 1e-8, 1e-30, 1e-42, math.inf, -math.inf, (2.0, -1.0), "per response"]
CLIP = {"clip_low": 0.2, "clip_high": 0.3}
# Of the largest: float32 rounds the log-ratios, and the hardware's exponential is good to 2^-22.
TOLERANCE = 2e-6

pytestmark = pytest.mark.gpu


@pytest.fixture
def device(monkeypatch):
    # Several blocks in a row of some hundred tokens.
    monkeypatch.setattr(fused_surrogate, "_BLOCK", 128)
    if IS_INTERPRETED:
        monkeypatch.setattr(objective, "can_fuse", lambda *_: True)
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return "cuda"


def make(num_rows=7, num_tokens=300, spread=0.3, shift=0.0, dtype=torch.float32, seed=0):
    """Responses with holes, the last without tokens; NaN wherever the mask is not set."""
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(num_rows, num_tokens, generator=generator)
    noise = torch.randn(num_rows, num_tokens, generator=generator)
    new = old + shift + spread * noise
    mask = torch.rand(num_rows, num_tokens, generator=generator) > 0.3
    mask[:, 0] = torch.arange(num_rows) % 2 == 0
    mask[-1] = False
    advantages = torch.randn(num_rows, 1, generator=generator).expand(-1, num_tokens)
    advantages = torch.where(mask, advantages, 0)
    new, old = (values.masked_fill(~mask, math.nan).to(dtype) for values in (new, old))
    return new, old, advantages, mask


def run(device, data, *, dtype=None, fused=True, p, weights=None, **settings):
    """Loss, gradient and statistics, on the CPU in float64."""
    new, old, advantages, mask = (values.to(device) for values in data)
    if dtype is not None:
        new, old, advantages = (values.to(dtype) for values in (new, old, advantages))
    if p == "per response":
        p = torch.linspace(-3, 3, len(new), device=device)
    new = new.detach().clone().requires_grad_()
    weights = None if weights is None else weights.to(device)
    loss, statistics = clipped_surrogate(
        new, old, advantages, mask, p=p, sequence_weights=weights, fused=fused, **CLIP, **settings
    )
    (loss * torch.linspace(1, 2, len(new), device=device)).sum().backward()
    named = {name: values.cpu() for name, values in statistics._asdict().items()}
    return loss.detach().cpu().double(), new.grad.cpu().double(), named


def assert_same(found, expected, tolerance=TOLERANCE):
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        largest = theirs.abs().nan_to_num().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * largest, equal_nan=True)
    for name, ours in found[2].items():
        theirs = expected[2][name]
        if theirs.dtype == torch.bool:
            assert torch.equal(ours, theirs), name
        else:
            scale = max(1.0, theirs.abs().nan_to_num().max().item())
            torch.testing.assert_close(
                ours.double(), theirs.double(), rtol=0, atol=tolerance * scale, equal_nan=True
            )


@pytest.mark.parametrize("level", CLIP_LEVELS)
@pytest.mark.parametrize("p", ORDERS, ids=str)
def test_the_kernels_compute_what_the_plain_passes_do(device, p, level):
    for num_tokens in (1, 37, 300):
        data = make(num_tokens=num_tokens)
        settings = {"p": p, "clip_level": level}
        exact = run("cpu", data, dtype=torch.float64, fused=False, **settings)
        assert_same(run(device, data, **settings), exact)


@pytest.mark.parametrize("level", CLIP_LEVELS)
def test_weights_a_dual_clip_and_one_advantage_a_response(device, level):
    new, old, advantages, mask = make()
    first = mask.int().argmax(-1, keepdim=True)
    # A response without tokens has no advantage, whatever is given.
    one = advantages.gather(1, first).squeeze(1) + (~mask.any(-1)).float()
    weights = torch.linspace(0.5, 2, len(new))
    weights[-1] = math.nan
    settings = {"p": 1.5, "clip_level": level, "dual_clip": 1.4, "weights": weights}
    exact = run("cpu", (new, old, one, mask), dtype=torch.float64, fused=False, **settings)
    assert_same(run(device, (new, old, one, mask), **settings), exact)
    assert_same(run(device, (new, old, advantages, mask.int()), **settings), exact)


@pytest.mark.parametrize("p", [2.0, -2.0, 1e-6, 40.0, -1e4, math.inf])
@pytest.mark.parametrize(
    ("spread", "shift"), [(1e-6, 3.0), (1e-5, 0.0), (20.0, 0.0), (0.5, -30.0), (0.5, 15.0)]
)
def test_ratios_far_from_one_keep_their_digits(device, p, spread, shift):
    """Clipped per response, where the ratio is far; so that of a response is compared."""
    data = make(spread=spread, shift=shift)
    new, old, advantages, mask = data
    # What the kernels are given, without the rounding of the difference.
    data = (torch.where(mask, new - old, math.nan), torch.zeros_like(old), advantages, mask)
    exact = run("cpu", data, dtype=torch.float64, fused=False, p=p)
    found = run(device, data, p=p)
    spread_of_rows = torch.where(mask, data[0], 0).double().square().mean().sqrt().item()
    tolerance = TOLERANCE * max(spread_of_rows, 1e-6)
    torch.testing.assert_close(
        found[2]["log_rho"].double(), exact[2]["log_rho"], rtol=1e-6, atol=tolerance
    )
    largest = exact[1].abs().max().item()
    if largest > 0:
        # A log-ratio of 80 has 2^-18 as its last digit, and the ratio carries it as its error.
        scale = 1e-6 * max(20.0, abs(shift) + 4 * spread)
        torch.testing.assert_close(found[1], exact[1], rtol=0, atol=scale * largest)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_on_in_single(device, dtype):
    data = make(dtype=dtype)
    single = run(device, data, dtype=torch.float32, p=2.0)
    found = run(device, data, p=2.0)
    assert torch.equal(found[0], single[0])
    last_digit = torch.finfo(dtype).eps
    torch.testing.assert_close(found[1], single[1], rtol=last_digit, atol=1e-7)


@pytest.mark.parametrize("p", [2.0, 0.0, -math.inf])
def test_a_broken_token_breaks_its_response_alone(device, p):
    new, old, advantages, mask = make()
    for value in (math.nan, math.inf, -math.inf):
        broken = new.clone()
        broken[0, mask[0].nonzero()[3]] = value
        loss, gradient, _ = run(device, (broken, old, advantages, mask), p=p)
        plain, _, _ = run("cpu", (broken, old, advantages, mask), fused=False, p=p)
        assert loss.isfinite().tolist() == plain.isfinite().tolist() == [False] + [True] * 6
        assert gradient[0].isnan().any()
        assert gradient[1:].isfinite().all()


def test_an_order_that_is_no_number_breaks_its_response_alone(device):
    p = torch.tensor([1.0, math.nan, 2.0, 0.0, 1.0, 1.0, math.nan])
    loss, _, _ = run(device, make(), p=p.to(device))
    # The last has no tokens.
    assert loss.isfinite().tolist() == [True, False] + [True] * 5


def test_ratios_that_are_too_large_are_held_with_their_gradient(device):
    data = make(spread=0.1, shift=30.0)
    data = (*data[:2], -data[2].abs(), data[3])
    loss, gradient, statistics = run(device, data, p=1.0)
    assert statistics["saturated"].tolist() == [True] * 6 + [False]
    assert_same(
        (loss, gradient, {}), run("cpu", data, dtype=torch.float64, fused=False, p=1.0), 1e-4
    )
    assert (gradient[:-1].abs().sum(-1) > 0).all()


def test_advantages_that_vary_are_flagged_or_refused(device):
    new, old, advantages, mask = make()
    last = mask[2].nonzero()[-1]
    for value in (7.0, math.nan):
        uneven = advantages.clone()
        uneven[2, last] = value
        data = (new, old, uneven, mask)
        _, _, statistics = run(device, data, p=1.0, check_advantages=False)
        assert statistics["uneven"].tolist() == [row == 2 for row in range(7)]
        with pytest.raises(ValueError, match=r"advantages: (they vary|NaN)"):
            run(device, data, p=1.0)


def test_rows_that_are_not_dense_are_read_rightly(device):
    data = make()
    exact = run("cpu", data, dtype=torch.float64, fused=False, p=2.0)
    wide = [torch.cat([values, values], 1)[:, : values.shape[1]] for values in data]
    assert_same(run(device, wide, p=2.0), exact)
    turned = [values.T.contiguous().T for values in data]
    assert_same(run(device, turned, p=2.0), exact)


@pytest.mark.parametrize("weights", [torch.arange(14.0)[::2], torch.tensor(2.0).expand(7)])
def test_what_each_response_has_once_need_not_be_dense(device, weights):
    new, old, _, mask = make()
    one = torch.stack([torch.linspace(-1, 1, 7), torch.zeros(7)], 1)[:, 0] * mask.any(-1)
    one = torch.stack([one, one], 1)[:, 0]
    p = torch.linspace(-1, 1, 14, device=device)[::2]
    data = (new, old, one, mask)
    exact = run("cpu", data, dtype=torch.float64, fused=False, p=p.cpu(), weights=weights)
    assert_same(run(device, data, p=p, weights=weights), exact)


@pytest.mark.parametrize("num_rows", [0, 1])
def test_few_responses(device, num_rows):
    new, old, advantages, mask = (values[:num_rows] for values in make())
    data = (new, old, advantages, mask)
    exact = run("cpu", data, dtype=torch.float64, fused=False, p=2.0)
    found = run(device, data, p=2.0)
    torch.testing.assert_close(found[1], exact[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0], exact[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("p", [*ORDERS[:3], math.inf, "per response"], ids=str)
def test_the_plain_passes_on_the_device(device, p):
    for level in CLIP_LEVELS:
        exact = run("cpu", make(), dtype=torch.float64, fused=False, p=p, clip_level=level)
        assert_same(run(device, make(), fused=False, p=p, clip_level=level), exact)


def test_shapes_that_do_not_fit_are_refused(device):
    new, old, advantages, mask = make()
    for field, data, settings in [
        ("old_log_prob", (new, old[:, 1:], advantages, mask), {}),
        ("advantages", (new, old, advantages[:, 1:], mask), {}),
        ("p", (new, old, advantages, mask), {"p": torch.ones(3)}),
        ("p", (new, old, advantages, mask), {"p": math.nan}),
        ("p", (new, old, advantages, mask), {"p": (1.0, math.nan)}),
        ("sequence_weights", (new, old, advantages, mask), {"weights": torch.ones(3)}),
    ]:
        with pytest.raises(ValueError, match=f"{field}: "):
            run(device, data, **{"p": 1.0} | settings)


def test_no_gradient_is_asked_for_where_none_is_needed(device):
    new, old, advantages, mask = (values.to(device) for values in make())
    loss, _ = clipped_surrogate(new, old, advantages, mask, p=1.0, **CLIP)
    assert not loss.requires_grad


@pytest.mark.parametrize("p", [2.0, (1.0, -1.0)])
def test_nothing_is_read_from_the_gpu(p):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    run("cuda", make(), p=p)
    new, old, advantages, mask = (values.cuda() for values in make())
    new.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss, _ = clipped_surrogate(new, old, advantages, mask, p=p, check_advantages=False, **CLIP)
        loss.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
