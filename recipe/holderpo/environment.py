"""What verl, vLLM and torch read from the environment; set before any of them is imported."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig

CPU_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    # GiB for vLLM's key-value cache.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # vLLM would claim whole cores for itself.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TOKENIZERS_PARALLELISM": "false",
    # The processes outnumber the cores and each computes little: more threads only contend.
    "OMP_NUM_THREADS": "1",
    "TQ_NUM_THREADS": "1",
    # verl compiles small functions whatever its settings say: seconds, and a need for g++.
    "TORCHDYNAMO_DISABLE": "1",
}


def run_environment(config: DictConfig) -> dict[str, str]:
    """The variables of a run, for this process and for Ray's workers."""
    folder = Path(config.run_dir).absolute() / "tensorboard"
    variables = {"TENSORBOARD_DIR": str(folder)}
    return variables | CPU_ENVIRONMENT if config.device == "cpu" else variables


def set_environment(config: DictConfig) -> None:
    """Set the variables in this process."""
    os.environ.update(run_environment(config))
