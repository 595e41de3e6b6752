"""Packages that a configuration asks for are named before anything starts."""

import pytest

from recipe.holderpo import this_machine
from recipe.holderpo.checks import packages
from recipe.holderpo.checks.packages import is_here, package_problems
from recipe.holderpo.this_machine import fill_in, machine_here
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT
from tests.recipe.composing import composed

ATTENTION = f"{MODEL}.override_config.attn_implementation"
KERNELS = f"{MODEL}.fused_kernel_options.impl_backend"
ENGINE_ATTENTION = f"{ROLLOUT}.engine_kwargs.vllm.attention_backend"
STORE = "transfer_queue.backend.storage_backend"


def found(existing, overrides):
    config = composed("demo", [*existing, *FOUR_GPUS.split(), *overrides.split()])
    return list(package_problems(config, fill_in(config, machine_here()).machine))


@pytest.fixture
def nothing_but(monkeypatch):
    """Of what settings may ask for, only these packages are here."""

    def only(*here):
        monkeypatch.setattr(packages, "is_here", lambda name: name in (*here, "vllm"))

    return only


ASKED = [
    ("trainer.logger=[swanlab]", "trainer.logger: 'swanlab'; ", "swanlab"),
    ("trainer.logger=[vemlp_wandb]", "trainer.logger: 'vemlp_wandb'; ", "volcengine_ml_platform"),
    (f"{ROLLOUT}.name=sglang", f"{ROLLOUT}.name: 'sglang'; ", "sglang"),
    (f"{ROLLOUT}.name=trtllm", f"{ROLLOUT}.name: 'trtllm'; ", "tensorrt_llm"),
    (f"{MODEL}.use_liger=true", f"{MODEL}.use_liger: true; ", "liger_kernel"),
    (
        f"{MODEL}.use_fused_kernels=true {KERNELS}=triton",
        f"{KERNELS}: 'triton'; ",
        "triton",
    ),
    (
        f"{MODEL}.use_fused_kernels=true {KERNELS}=liger",
        f"{KERNELS}: 'liger'; ",
        "liger_kernel",
    ),
    (f"{MODEL}.external_lib=my.models", f"{MODEL}.external_lib: 'my.models'; ", "my.models"),
    (f"{ROLLOUT}.quantization=torchao", f"{ROLLOUT}.quantization: 'torchao'; ", "torchao"),
    (f"+{ENGINE_ATTENTION}=FLASHINFER", f"{ENGINE_ATTENTION}: 'FLASHINFER'; ", "flashinfer"),
    (f"{STORE}=MooncakeStore", f"{STORE}: 'MooncakeStore'; ", "mooncake"),
    (f"{STORE}=Yuanrong", f"{STORE}: 'Yuanrong'; ", "yr"),
    (
        f"{ATTENTION}=flash_attention_3",
        f"{ATTENTION}: 'flash_attention_3'; ",
        "flash_attn_interface",
    ),
    (f"{ATTENTION}=owner/kernel", f"{ATTENTION}: 'owner/kernel'; the package ", "kernels"),
]


@pytest.mark.parametrize(("overrides", "field", "package"), ASKED)
def test_a_package_that_is_not_there_is_named(overrides, field, package, existing, nothing_but):
    own_logger = "" if "logger" in overrides else " trainer.logger=[]"
    nothing_but()
    (line,) = found(existing, overrides + own_logger)
    assert line.startswith(f"{field}{package} is not installed here")
    nothing_but(package)
    assert found(existing, overrides + own_logger) == []


def test_what_is_not_switched_on_asks_for_nothing(existing, nothing_but):
    nothing_but()
    assert found(existing, f"trainer.logger=[] {KERNELS}=triton") == []


def test_flash_attention_has_to_be_importable_or_to_come_from_the_hub(
    existing, nothing_but, monkeypatch
):
    monkeypatch.setattr(this_machine, "flash_attention_error", lambda: "undefined symbol: _Z")
    asked = f"trainer.logger=[] {ATTENTION}=flash_attention_2"
    nothing_but()
    (line,) = found(existing, asked)
    assert line == (
        f"{ATTENTION}: 'flash_attention_2'; flash-attn cannot be imported here (undefined symbol: "
        "_Z): install it, or choose 'sdpa'"
    )
    nothing_but("kernels")
    assert found(existing, asked) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            f"{ACTOR}.optim.optimizer_impl=no_such_package.optim",
            f"{ACTOR}.optim.optimizer_impl: 'no_such_package.optim'; it cannot be imported here",
        ),
        (
            f"{ACTOR}.optim.optimizer=adamw",
            f"{ACTOR}.optim.optimizer: 'adamw'; torch.optim has no such class, give one",
        ),
        (f"{ACTOR}.optim.optimizer=SGD", None),
    ],
)
def test_the_optimiser_has_to_exist(overrides, expected, existing):
    lines = found(existing, overrides)
    assert len(lines) == (expected is not None)
    assert all(line.startswith(expected) for line in lines)


def test_a_module_within_a_package_that_is_absent_is_absent():
    assert is_here("json.decoder")
    assert not is_here("json.no_such_module")
    assert not is_here("no_such_package.module")
