"""HölderPO: policy optimisation with the Hölder (power) mean of token ratios.

The method itself, in plain torch. Nothing here imports verl, ray, vllm or hydra; the wiring to
verl lives in ``recipe.holderpo``.
"""

__version__ = "0.1.0"
