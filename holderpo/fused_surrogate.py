"""The clipped surrogate on a GPU: two kernels in place of some hundred operations.

What costs time there is the number of kernels that are launched and every wait for the device, not
the size of the tensors.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCK = 2048


class RatioBounds(NamedTuple):
    """Where the ratios of a surrogate end."""

    low: float
    """Lower end of the clip range, a ratio in (0, 1)."""
    high: float
    """Upper end, a ratio above 1."""
    dual: float
    """Ratio of the dual clip; infinite for none."""
    max_log_rho: float
    """Largest log-ratio used, nats."""


def can_fuse(log_prob: Tensor, old_log_prob: Tensor) -> bool:
    """Whether :func:`fused_surrogate` works on such tensors.

    Args:
        log_prob: tells the device and the dtype.
        old_log_prob: likewise.

    Returns:
        True on a GPU with Triton, in single or half precision.
    """
    is_on_gpu = log_prob.device.type == "cuda" and old_log_prob.device == log_prob.device
    return is_on_gpu and {log_prob.dtype, old_log_prob.dtype} <= {*_DTYPES} and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def fused_surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    mask_BT: Tensor,
    advantages: Tensor,
    p: tuple[float, float] | Tensor,
    sequence_weights: Tensor | None,
    level: int,
    bounds: RatioBounds,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss per response and what happened to it, in one pass over the tokens each way.

    Reads nothing of the device: whether an advantage varies along a response is one of the flags.

    **Source**: as :func:`holderpo.objective.clipped_surrogate`, whose plain passes compute the
    same.

    Args:
        log_prob: (B, T) nats; carries the gradient.
        old_log_prob: (B, T) nats; a constant.
        mask_BT: (B, T) bool.
        advantages: (B,), or (B, T) with one value along each response.
        p: order of the responses with a positive or no advantage and of those with a negative one,
            or (B,) orders.
        sequence_weights: (B,) constants; None for 1.
        level: place of the clip level in ``holderpo.objective.CLIP_LEVELS``.
        bounds: of the ratios.

    Returns:
        The loss (B,), and by their names the fields of ``holderpo.objective.Statistics``.
    """
    from holderpo import fused_kernels as kernels

    loss, numbers, flags = _FusedSurrogate.apply(  # type: ignore[no-untyped-call]
        _rows(log_prob), _rows(old_log_prob), _rows(mask_BT), _rows(advantages), p,
        sequence_weights, level, bounds,
    )  # fmt: skip
    statistics = {name: numbers[place] for name, place in kernels.NUMBERS_BY_NAME.items()}
    return loss, statistics | dict(zip(kernels.FLAG_NAMES, flags, strict=True))


def _rows(values: Tensor) -> Tensor:
    """With the last dimension dense, as the kernels read it."""
    return values if values.stride(-1) == 1 else values.contiguous()


class _FusedSurrogate(torch.autograd.Function):
    """The slope of each row's loss is known after the forward pass; the weights are recomputed."""

    @staticmethod
    def forward(
        ctx: Any,
        log_prob: Tensor,
        old_log_prob: Tensor,
        mask_BT: Tensor,
        advantages: Tensor,
        p: tuple[float, float] | Tensor,
        sequence_weights: Tensor | None,
        level: int,
        bounds: RatioBounds,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from holderpo import fused_kernels as kernels

        num_rows, num_tokens = log_prob.shape
        device = log_prob.device
        numbers = torch.empty((kernels.NUM_NUMBERS, num_rows), dtype=torch.float32, device=device)
        flags = torch.empty((len(kernels.FLAG_NAMES), num_rows), dtype=torch.bool, device=device)
        orders = p.detach() if isinstance(p, Tensor) else None
        positive, negative = (0.0, 0.0) if isinstance(p, Tensor) else p
        logs = (math.log(bounds.low), math.log(bounds.high), math.log(bounds.dual))
        block, num_warps = _block_of(num_tokens)
        with _on(device):
            kernels.surrogate_kernel[(num_rows,)](
                log_prob,
                old_log_prob,
                mask_BT.view(torch.uint8),
                advantages,
                numbers if orders is None else orders,
                numbers if sequence_weights is None else sequence_weights,
                numbers,
                flags.view(torch.uint8),
                num_rows,
                num_tokens,
                log_prob.stride(0),
                old_log_prob.stride(0),
                mask_BT.stride(0),
                advantages.stride(0),
                float(positive),
                float(negative),
                *logs,
                *bounds,
                LEVEL=level,
                ADVANTAGE_PER_TOKEN=advantages.ndim == 2,
                HAS_ORDERS=orders is not None,
                HAS_WEIGHTS=sequence_weights is not None,
                BLOCK=block,
                num_warps=num_warps,
            )
        loss = numbers[kernels.LOSS.value].clone()
        ctx.save_for_backward(log_prob, old_log_prob, mask_BT, numbers)
        ctx.level, ctx.logs = level, logs
        ctx.mark_non_differentiable(numbers, flags)
        # The statistics' gradients are never needed, and zeros for them would be two launches.
        ctx.set_materialize_grads(False)
        return loss, numbers, flags

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream_B: Tensor | None, *_: Tensor) -> tuple[Tensor | None, ...]:
        from holderpo import fused_kernels as kernels

        nothing = (None,) * 7
        if upstream_B is None:
            return None, *nothing
        log_prob, old_log_prob, mask_BT, numbers = ctx.saved_tensors
        num_rows, num_tokens = log_prob.shape
        gradient = torch.empty_like(log_prob, memory_format=torch.contiguous_format)
        block, num_warps = _block_of(num_tokens)
        with _on(log_prob.device):
            kernels.gradient_kernel[(num_rows, -(-num_tokens // block))](
                log_prob,
                old_log_prob,
                mask_BT.view(torch.uint8),
                upstream_B,
                numbers,
                gradient,
                num_rows,
                num_tokens,
                log_prob.stride(0),
                old_log_prob.stride(0),
                mask_BT.stride(0),
                upstream_B.stride(0),
                *ctx.logs,
                LEVEL=ctx.level,
                BLOCK=block,
                num_warps=num_warps,
            )
        return gradient, *nothing


def _block_of(num_tokens: int) -> tuple[int, int]:
    """Tokens that are worked on at once, a power of two, and the warps that do so."""
    block = min(_BLOCK, max(128, 2 ** math.ceil(math.log2(num_tokens))))
    return block, max(1, block // 256)


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
