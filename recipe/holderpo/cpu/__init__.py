"""verl, FSDP2 and vLLM on a machine without a GPU; see ``patches`` for what upstream lacks.

Nothing in here takes effect unless ``VERL_PLATFORM=cpu``, which ``recipe.holderpo.main`` sets for
``device: cpu`` only.
"""

from __future__ import annotations


def activate() -> None:
    """Register the CPU platform and apply the patches; called by the plugin in each process."""
    from recipe.holderpo.cpu import patches, platform  # noqa: F401  (registers the platform)

    patches.apply()
