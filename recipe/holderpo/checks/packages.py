"""Packages that a configuration asks for, and whether they are here: one table."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.attention import ATTENTION, FLASH_2, SDPA, attention
from recipe.holderpo.checks.importing import why_not_importable
from recipe.holderpo.checks.kinds import ACTOR, ROLLOUT
from recipe.holderpo.checks.ruinous import MODEL
from recipe.holderpo.checks.this_machine import Machine, has_distribution

# Loggers of verl, and the packages that they bring.
LOGGERS = {
    **{name: name for name in ("wandb", "mlflow", "swanlab", "clearml", "trackio", "tensorboard")},
    "vemlp_wandb": "volcengine_ml_platform",
    "rl_insight": "rl_insight",
}
_ENGINES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt_llm"}
_STORES = {"MooncakeStore": "mooncake", "Yuanrong": "yr"}
# Distributions of attention, by which transformers knows their versions: packages of two have one
# name. Where one is not installed it takes `kernels` in its place, which loads it from the hub.
_FLASH_DISTRIBUTIONS = {
    FLASH_2: "flash-attn",
    "flash_attention_3": "flash-attn-3",
    "flash_attention_4": "flash-attn-4",
}


@dataclass(frozen=True)
class Needed:
    """A setting and the packages that it takes."""

    field: str
    """The setting."""
    packages: Callable[[DictConfig], Iterable[str | None]]
    """Their import names; none, or None, where the setting needs none."""
    fix: str
    """What else to do than to install it."""


def _of_fused_kernels(config: DictConfig) -> Iterator[str | None]:
    model = config.actor_rollout_ref.model
    if model.use_fused_kernels:
        backend = (model.fused_kernel_options or {}).get("impl_backend")
        yield {"triton": "triton", "liger": "liger_kernel"}.get(str(backend))


def _of_rollout_attention(config: DictConfig) -> Iterator[str]:
    options = (config.actor_rollout_ref.rollout.engine_kwargs or {}).get("vllm") or {}
    if "FLASHINFER" in str(options.get("attention_backend")).upper():
        yield "flashinfer"


NEEDED = (
    Needed(
        f"{ROLLOUT}.name",
        lambda config: [_ENGINES.get(config.actor_rollout_ref.rollout.name)],
        "",
    ),
    Needed(
        f"{MODEL}.use_liger",
        lambda config: ["liger_kernel"] if config.actor_rollout_ref.model.use_liger else [],
        "give false",
    ),
    Needed(f"{MODEL}.fused_kernel_options.impl_backend", _of_fused_kernels, "give 'torch'"),
    Needed(
        f"{ROLLOUT}.quantization",
        lambda config: (
            ["torchao"] if config.actor_rollout_ref.rollout.quantization == "torchao" else []
        ),
        "give null",
    ),
    Needed(
        f"{ROLLOUT}.engine_kwargs.vllm.attention_backend", _of_rollout_attention, "leave it out"
    ),
    Needed(
        "transfer_queue.backend.storage_backend",
        lambda config: [_STORES.get(config.transfer_queue.backend.storage_backend)],
        "choose 'SimpleStorage'",
    ),
)


def package_problems(config: DictConfig, machine: Machine | None) -> Iterator[str]:
    """What a run would import, perhaps minutes after its start, and is not here.

    Args:
        config: a configuration without other problems.
        machine: that a run on GPUs starts on; None for one on a CPU.

    Yields:
        One line per problem: field, value, fix.
    """
    for row in NEEDED:
        for package in row.packages(config):
            if package is None or is_here(package):
                continue
            value = OmegaConf.select(config, row.field)
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            instead = f", or {row.fix}" if row.fix else ""
            yield f"{row.field}: {shown}; {package} is not installed here: install it{instead}"
    yield from logger_problems(config)
    if machine is not None:
        yield from _attention(config, machine)
    yield from _external_lib(config)
    yield from _optimiser(config)


def logger_problems(config: DictConfig) -> Iterator[str]:
    """Loggers that are not here: they are the trainer's, which runs in this process.

    Args:
        config: a configuration without other problems.

    Yields:
        One line per problem: field, value, fix.
    """
    for name in loggers(config):
        if name in LOGGERS and not is_here(LOGGERS[name]):
            yield (
                f"trainer.logger: {name!r}; {LOGGERS[name]} is not installed here: install it, or "
                "leave the logger out"
            )


def loggers(config: DictConfig) -> list[str]:
    """Where verl is to send the metrics."""
    named = config.trainer.logger
    return [named] if isinstance(named, str) else list(named or [])


def is_here(package: str) -> bool:
    """Whether a package is installed, or imported, from its name without dots."""
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _attention(config: DictConfig, machine: Machine) -> Iterator[str]:
    """Kernels of attention; those of the hub come with the package ``kernels``."""
    named = attention(config)
    if machine.flash_attention_error is not None:
        # vLLM imports it for its own use (model_executor/layers/rotary_embedding/common.py).
        yield (
            f"{ATTENTION}: {named!r}; flash-attn is installed here and cannot be imported "
            f"({machine.flash_attention_error}), which ends vLLM's engines whatever is given: "
            "rebuild it for this torch, or uninstall it"
        )
        return
    distribution = "kernels" if "/" in named else _FLASH_DISTRIBUTIONS.get(named)
    if distribution is None or (named == FLASH_2 and machine.has_flash_attention):
        return
    if not (has_distribution(distribution) or has_distribution("kernels")):
        yield (
            f"{ATTENTION}: {named!r}; {distribution} is not installed here: install it, or choose "
            f"'{SDPA}'"
        )


def _external_lib(config: DictConfig) -> Iterator[str]:
    """The user's own modules, which every worker imports."""
    named = config.actor_rollout_ref.model.external_lib
    field = f"{MODEL}.external_lib"
    for name in [named] if isinstance(named, str) else named or []:
        if error := why_not_importable(name):
            yield (
                f"{field}: {name!r}; it cannot be imported here ({error}): mend or install it, or "
                "give null"
            )


def _optimiser(config: DictConfig) -> Iterator[str]:
    """The optimiser is a class or a function of a module, torch's unless another is named."""
    optim = config.actor_rollout_ref.actor.optim
    if error := why_not_importable(optim.optimizer_impl):
        yield (
            f"{ACTOR}.optim.optimizer_impl: {optim.optimizer_impl!r}; it cannot be imported here "
            f"({error}): install it, or give 'torch.optim'"
        )
    elif not callable(
        getattr(importlib.import_module(optim.optimizer_impl), str(optim.optimizer), None)
    ):
        yield (
            f"{ACTOR}.optim.optimizer: {optim.optimizer!r}; {optim.optimizer_impl} has no such "
            "optimiser, give one as it is written there, as 'AdamW'"
        )
