"""A verl platform for the processor itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformRegistry
from verl.plugin.platform.platform_base import PlatformBase


class CpuDeviceModule(ModuleType):
    """Answers, for the CPU, what verl asks of ``torch.cuda``: there is one device, always ready."""

    def __getattr__(self, name: str) -> Any:
        """Fall back on ``torch.cpu``, which has synchronize, streams, set_device and more."""
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        """The CPU is there."""
        return True

    def device_count(self) -> int:
        """One."""
        return 1

    def get_device_name(self, device: Any = None) -> str:
        """Name for verl's FLOPS table; unknown names count as infinitely fast."""
        return "CPU"

    def empty_cache(self) -> None:
        """There is no allocator cache."""

    def ipc_collect(self) -> None:
        """There is no device IPC."""

    def set_per_process_memory_fraction(self, *_: Any) -> None:
        """Main memory is not divided."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        """State of the CPU generator."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """Restore the state of the CPU generator."""
        torch.set_rng_state(state)

    def memory_allocated(self, device: Any = None) -> int:
        """Resident memory of this process, bytes."""
        return psutil.Process().memory_info().rss

    max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Free and total main memory, bytes."""
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    class Event:
        """A point in time; CPU work is done when it returns."""

        def __init__(self, *_: Any, **__: Any) -> None:
            """Not recorded yet."""
            self._seconds = 0.0

        def record(self, *_: Any) -> None:
            """Now."""
            self._seconds = time.perf_counter()

        def synchronize(self) -> None:
            """Nothing to wait for."""

        def elapsed_time(self, end: CpuDeviceModule.Event) -> float:
            """Milliseconds until ``end``."""
            return (end._seconds - self._seconds) * 1e3


_device_module = CpuDeviceModule("cpu_device")


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """The processor as verl's device; chosen by ``VERL_PLATFORM=cpu`` only."""

    @property
    def device_name(self) -> str:
        """Device type of torch."""
        return "cpu"

    @property
    def vendor_name(self) -> str:
        """No particular vendor."""
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        """Stands in for ``torch.cuda``."""
        return _device_module

    def is_available(self) -> bool:
        """The CPU is there."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never auto-detected: a head node without a GPU must not switch a cluster to CPUs."""
        return False

    def current_device(self) -> torch.device:
        """The only device; not an index, which torch would take for an accelerator's."""
        return torch.device("cpu")

    def device_count(self) -> int:
        """One."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to choose."""

    def synchronize(self, device_index: int | None = None) -> None:
        """CPU work is done when it returns."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """There is no device allocator."""

    def empty_cache(self) -> None:
        """There is no allocator cache."""

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """CPUs have none."""
        return None, None

    def communication_backend_name(self) -> str:
        """torch.distributed's backend."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Ray sets it for logical GPUs; no library here reads it."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No device profiler."""
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        """Logical GPUs: verl asks Ray for accelerators under this name only."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """None."""
        return []

    def is_ipc_supported(self) -> bool:
        """Weights go to vLLM through shared memory."""
        return False

    def cudart(self) -> None:
        """There is no CUDA runtime."""
