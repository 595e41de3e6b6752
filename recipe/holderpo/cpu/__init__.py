"""verl, FSDP2 and vLLM on a machine without a GPU.

``platform``, ``patches`` and ``vllm_worker`` are what upstream lacks; ``shortcuts`` only save
seconds. Nothing in here takes effect unless ``VERL_PLATFORM=cpu``, which ``recipe.holderpo.main``
sets for ``device: cpu`` only.
"""

from __future__ import annotations

import os


def activate() -> None:
    """Register the CPU platform and apply the patches; called by the plugin in each process."""
    from recipe.holderpo.cpu import patches, platform  # noqa: F401  (registers the platform)
    from recipe.holderpo.cpu.shortcuts import VARIABLE, processes

    patches.apply()
    if os.environ.get(VARIABLE) != "0":
        processes.apply()
