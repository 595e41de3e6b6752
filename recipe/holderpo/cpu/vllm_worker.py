"""What runs inside vLLM's worker process on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's worker extension, with weights it may keep."""

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], **kwargs: Any) -> None:
        # Copies: on a CPU the received tensors are views of the shared-memory bucket, which cannot
        # be closed while vLLM still holds one.
        super()._update_weights([(name, tensor.clone()) for name, tensor in weights], **kwargs)
