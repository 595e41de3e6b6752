"""Packages that a configuration asks for, and whether they are here: one table."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.checks.devices import FLASH, attention
from recipe.holderpo.checks.kinds import ACTOR, ROLLOUT
from recipe.holderpo.checks.ruinous import MODEL
from recipe.holderpo.this_machine import ATTENTION, SDPA, Machine

# Loggers of verl, and the packages that they bring.
LOGGERS = {
    **{name: name for name in ("wandb", "mlflow", "swanlab", "clearml", "trackio", "tensorboard")},
    "vemlp_wandb": "volcengine_ml_platform",
    "rl_insight": "rl_insight",
}
_ENGINES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt_llm"}
_STORES = {"MooncakeStore": "mooncake", "Yuanrong": "yr"}
# Attention by a package of its own; transformers takes `kernels` in their place, which loads them
# from the hub.
_FLASH_PACKAGES = {"flash_attention_3": "flash_attn_interface", "flash_attention_4": "flash_attn"}


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


def _of_external_lib(config: DictConfig) -> Iterator[str]:
    named = config.actor_rollout_ref.model.external_lib
    yield from [named] if isinstance(named, str) else named or []


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
    Needed(f"{MODEL}.external_lib", _of_external_lib, "give null"),
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
    for name in loggers(config):
        if name in LOGGERS and not is_here(LOGGERS[name]):
            yield (
                f"trainer.logger: {name!r}; {LOGGERS[name]} is not installed here: install it, or "
                "leave the logger out"
            )
    if machine is not None:
        yield from _attention(config, machine)
    yield from _optimiser(config)


def loggers(config: DictConfig) -> list[str]:
    """Where verl is to send the metrics."""
    named = config.trainer.logger
    return [named] if isinstance(named, str) else list(named or [])


def is_here(package: str) -> bool:
    """Whether a module is installed, from its dotted name."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _attention(config: DictConfig, machine: Machine) -> Iterator[str]:
    """Kernels of attention; those of the hub come with the package ``kernels``."""
    named = attention(config)
    error = None
    if "/" in named:
        error = "the package kernels is not installed here"
    elif named == f"{FLASH}_2":
        error = machine.flash_attention_error and (
            f"flash-attn cannot be imported here ({machine.flash_attention_error})"
        )
    elif named in _FLASH_PACKAGES and not is_here(_FLASH_PACKAGES[named]):
        error = f"{_FLASH_PACKAGES[named]} is not installed here"
    if error and not is_here("kernels"):
        yield f"{ATTENTION}: {named!r}; {error}: install it, or choose '{SDPA}'"


def _optimiser(config: DictConfig) -> Iterator[str]:
    """The optimiser is a class of a module; torch's own unless another is named."""
    optim = config.actor_rollout_ref.actor.optim
    try:
        module = importlib.import_module(optim.optimizer_impl)
    except ImportError as error:
        yield (
            f"{ACTOR}.optim.optimizer_impl: {optim.optimizer_impl!r}; it cannot be imported here "
            f"({error}): install it, or give 'torch.optim'"
        )
        return
    if not isinstance(getattr(module, str(optim.optimizer), None), type):
        yield (
            f"{ACTOR}.optim.optimizer: {optim.optimizer!r}; {optim.optimizer_impl} has no such "
            "class, give one as it is written there, as 'AdamW'"
        )
