"""The passes fused by torch.compile give what the passes block by block give."""

import math
import shutil

import pytest
import torch

from holderpo.objective import CLIP_LEVELS, clipped_surrogate

ORDERS = [2.0, 0.0, -1.5, math.inf, "per response"]
DEVICES = [
    pytest.param("cpu", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", CLIP_LEVELS)
def test_value_and_gradient_are_those_of_the_cpu_blocks(level, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if device == "cpu" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    for num_rows, num_tokens in ((6, 50), (9, 3000)):
        for order in ORDERS:
            p = torch.linspace(-2, 2, num_rows) if order == "per response" else order
            expected = loss_and_gradient("cpu", num_rows, num_tokens, p, level, compiled=False)
            for compiled in (False, True):
                found = loss_and_gradient(device, num_rows, num_tokens, p, level, compiled)
                torch.testing.assert_close(found, expected)


def loss_and_gradient(device, num_rows, num_tokens, p, level, compiled):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(num_rows, num_tokens, generator=generator)
    new = old + 0.3 * torch.randn(num_rows, num_tokens, generator=generator)
    mask = torch.rand(num_rows, num_tokens, generator=generator) > 0.3
    advantages = torch.randn(num_rows, generator=generator)
    new = new.to(device).requires_grad_()
    loss, _ = clipped_surrogate(
        new,
        *(values.to(device) for values in (old, advantages, mask)),
        p=p.to(device) if isinstance(p, torch.Tensor) else p,
        clip_low=0.2,
        clip_high=0.2,
        clip_level=level,
        compiled=compiled,
    )
    loss.sum().backward()
    return loss.detach().cpu(), new.grad.cpu()
