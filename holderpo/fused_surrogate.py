"""The clipped surrogate on a GPU: two kernels in place of some hundred operations.

What costs time there is the number of kernels that are launched and every wait for the device, not
the size of the tensors.

Shapes: ``B`` sequences, ``T`` response tokens.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCK = 2048
_TOKENS_OF_A_WARP = 128


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
        True on an NVIDIA GPU where Triton works, in single or half precision. Where it does not
        work, a warning says why, once.
    """
    is_on_gpu = log_prob.device.type == "cuda" and old_log_prob.device == log_prob.device
    is_known = {log_prob.dtype, old_log_prob.dtype} <= {*_DTYPES} and torch.version.hip is None
    return is_on_gpu and is_known and works_on(log_prob.device)


@functools.cache
def works_on(device: torch.device) -> bool:
    """Whether Triton can build and start the kernels: it needs a C compiler and Python's headers.

    Args:
        device: to start them on.

    Returns:
        False with a warning that says why.
    """
    try:
        log_prob = torch.zeros((2, 2), device=device, requires_grad=True)
        with torch.enable_grad():
            loss, _ = fused_surrogate(
                log_prob,
                torch.zeros_like(log_prob, requires_grad=False),
                torch.ones((2, 2), dtype=torch.bool, device=device),
                torch.ones(2, device=device),
                (1.0, 1.0),
                None,
                0,
                RatioBounds(0.8, 1.2, math.inf, 20.0),
            )
            loss.sum().backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"the fused loss does not work here ({reason}), plain operations take its place: "
            "install Triton, a C compiler and Python's headers, or set policy_loss.fused=false",
            stacklevel=2,
        )
        return False
    return True


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
            or (B,) orders, dense.
        sequence_weights: (B,), dense constants; None for 1.
        level: place of the clip level in ``holderpo.objective.CLIP_LEVELS``.
        bounds: of the ratios.

    Returns:
        The loss (B,), and by their names the fields of ``holderpo.objective.Statistics``.
    """
    from holderpo import fused_kernels as kernels

    loss, numbers, flags = _FusedSurrogate.apply(
        _rows(log_prob), _rows(old_log_prob), _rows(mask_BT), _rows(advantages), p,
        sequence_weights, level, bounds,
    )  # fmt: skip
    statistics = {name: numbers[place] for name, place in kernels.NUMBERS_BY_NAME.items()}
    statistics["totals"] = numbers[kernels.FIRST_TOTAL :].sum(-1)
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
        loss = torch.empty(num_rows, dtype=torch.float32, device=device)
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
                loss,
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
                enable_fp_fusion=True,
            )
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
                enable_fp_fusion=True,
            )
        return gradient, *nothing


def _block_of(num_tokens: int) -> tuple[int, int]:
    """Tokens that are worked on at once, a power of two, and the warps that do so."""
    block = min(_BLOCK, max(128, 2 ** math.ceil(math.log2(num_tokens))))
    return block, max(1, block // _TOKENS_OF_A_WARP)


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
