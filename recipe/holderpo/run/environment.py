"""What verl, vLLM and torch read from the environment; set before any of them is imported."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.cpu.shortcuts import VARIABLE

# Fixed: the patches and settings of device cpu rely on them.
CPU_FIXED = {
    "VERL_PLATFORM": "cpu",
    # verl compiles small functions whatever its settings say: seconds, and a need for g++.
    "TORCHDYNAMO_DISABLE": "1",
}
# Left as they are where they are set already.
CPU_TUNABLES = {
    # GiB for vLLM's key-value cache.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # vLLM would claim whole cores for itself.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TOKENIZERS_PARALLELISM": "false",
    # The processes outnumber the cores and each computes little: more threads only contend.
    "OMP_NUM_THREADS": "1",
    "TQ_NUM_THREADS": "1",
}
CPU_ENVIRONMENT = CPU_TUNABLES | CPU_FIXED


def run_environment(config: DictConfig) -> dict[str, str]:
    """The variables of a run, for this process and for Ray's workers."""
    folder = Path(str(config.run_dir)).absolute() / "tensorboard"
    variables = {"TENSORBOARD_DIR": str(folder)}
    if config.actor_rollout_ref.rollout.full_determinism:
        # As verl's own entry point does.
        variables |= {"VERL_FULL_DETERMINISM": "1", "VLLM_BATCH_INVARIANT": "1"}
        variables["PYTHONHASHSEED"] = str(config.actor_rollout_ref.rollout.seed)
    if config.device == "cpu":
        tunables = {name: os.environ.get(name, value) for name, value in CPU_TUNABLES.items()}
        variables |= tunables | CPU_FIXED
        wanted = OmegaConf.select(config, "cpu.shortcuts")
        variables[VARIABLE] = "0" if wanted is False else "1"
    return variables


def set_environment(config: DictConfig) -> None:
    """Set the variables in this process."""
    os.environ.update(run_environment(config))
