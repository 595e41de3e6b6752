"""Packages that a configuration asks for are named before anything starts."""

import sys
import types

import pytest

from recipe.holderpo.checks import packages, this_machine
from recipe.holderpo.checks.from_machine import fill_in
from recipe.holderpo.checks.packages import is_here, package_problems
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT
from tests.recipe.composing import composed

ATTENTION = f"{MODEL}.override_config.attn_implementation"
FLASH = "flash_attention"
KERNELS = f"{MODEL}.fused_kernel_options.impl_backend"
ENGINE_ATTENTION = f"{ROLLOUT}.engine_kwargs.vllm.attention_backend"
STORE = "transfer_queue.backend.storage_backend"


def found(existing, overrides):
    config = composed("demo", [*existing, *FOUR_GPUS.split(), *overrides.split()])
    here = this_machine.machine_here()
    fill_in(config, here, on_cluster=False)
    return list(package_problems(config, here))


@pytest.fixture
def nothing_but(monkeypatch):
    """Of what settings may ask for, only these packages are here."""

    def only(*here):
        monkeypatch.setattr(packages, "is_here", lambda name: name in (*here, "vllm"))
        monkeypatch.setattr(packages, "has_distribution", lambda name: name in here)

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
    (f"{ROLLOUT}.quantization=torchao", f"{ROLLOUT}.quantization: 'torchao'; ", "torchao"),
    (f"+{ENGINE_ATTENTION}=FLASHINFER", f"{ENGINE_ATTENTION}: 'FLASHINFER'; ", "flashinfer"),
    (f"{STORE}=MooncakeStore", f"{STORE}: 'MooncakeStore'; ", "mooncake"),
    (f"{STORE}=Yuanrong", f"{STORE}: 'Yuanrong'; ", "yr"),
    *[
        (
            f"{ATTENTION}=flash_attention_{version}",
            f"{ATTENTION}: 'flash_attention_{version}'; ",
            name,
        )
        for version, name in ((2, "flash-attn"), (3, "flash-attn-3"), (4, "flash-attn-4"))
    ],
    (f"{ATTENTION}=owner/kernel", f"{ATTENTION}: 'owner/kernel'; ", "kernels"),
]


@pytest.mark.parametrize(("overrides", "field", "package"), ASKED)
def test_a_package_that_is_not_there_is_named(
    overrides, field, package, existing, nothing_but, monkeypatch
):
    own_logger = "" if "logger" in overrides else " trainer.logger=[]"
    nothing_but()
    if package == "flash-attn":
        monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (False, None))
    (line,) = found(existing, overrides + own_logger)
    assert line.startswith(f"{field}{package} is not installed here")
    nothing_but(package)
    assert found(existing, overrides + own_logger) == []


def test_what_is_not_switched_on_asks_for_nothing(existing, nothing_but):
    nothing_but()
    assert found(existing, f"trainer.logger=[] {KERNELS}=triton") == []


@pytest.mark.parametrize("version", [2, 3, 4])
def test_the_hub_s_kernels_stand_in_for_flash_attention(
    version, existing, nothing_but, monkeypatch
):
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (False, None))
    nothing_but("kernels")
    assert found(existing, f"trainer.logger=[] {ATTENTION}=flash_attention_{version}") == []


def test_transformers_knows_the_versions_by_their_distributions(monkeypatch):
    from transformers import modeling_flash_attention_utils as of_transformers

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    for version, checks in of_transformers.FLASH_ATTENTION_COMPATIBILITY_MATRIX.items():
        for other in (2, 3, 4):
            name = packages._FLASH_DISTRIBUTIONS[f"{FLASH}_{other}"]
            brought = {key: [name] for key in ("flash_attn", "flash_attn_interface")}
            monkeypatch.setattr(of_transformers, "PACKAGE_DISTRIBUTION_MAPPING", brought)
            assert checks["pkg_availability_check"]() is (other == version)


@pytest.mark.parametrize("named", ["flash_attention_2", "sdpa", "null", "kernels-community/x"])
def test_a_broken_flash_attention_ends_any_run(named, existing, nothing_but, monkeypatch):
    broken = (True, "undefined symbol: _Z")
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: broken)
    nothing_but("kernels", "flash-attn")
    (line,) = found(existing, f"trainer.logger=[] {ATTENTION}={named}")
    shown = "flash_attention_2" if named == "null" else named
    assert line == (
        f"{ATTENTION}: {shown!r}; flash-attn is installed here and cannot be imported (undefined "
        "symbol: _Z), which ends vLLM's engines whatever is given: rebuild it for this torch, or "
        "uninstall it"
    )


def test_vllm_goes_on_without_flash_attention_and_not_with_a_broken_one():
    """What the two states of it rest on."""
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("vllm").origin).parent
    text = (folder / "model_executor/layers/rotary_embedding/common.py").read_text()
    assert "with suppress(ModuleNotFoundError):" in text
    assert '"flash_attn.ops.triton.rotary"' in text


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            f"{ACTOR}.optim.optimizer_impl=no_such_package.optim",
            f"{ACTOR}.optim.optimizer_impl: 'no_such_package.optim'; it cannot be imported here",
        ),
        (
            f"{ACTOR}.optim.optimizer=adamw",
            f"{ACTOR}.optim.optimizer: 'adamw'; torch.optim has no such optimiser",
        ),
        (
            f"{ACTOR}.optim.optimizer_impl=optimisers_of_mine {ACTOR}.optim.optimizer=nothing",
            f"{ACTOR}.optim.optimizer: 'nothing'; optimisers_of_mine has no such optimiser",
        ),
        (
            f"{ACTOR}.optim.optimizer_impl=broken_of_mine",
            f"{ACTOR}.optim.optimizer_impl: 'broken_of_mine'; it cannot be imported here (bad)",
        ),
        (
            f"{MODEL}.external_lib=broken_of_mine",
            f"{MODEL}.external_lib: 'broken_of_mine'; it cannot be imported here (bad)",
        ),
        (
            f"{MODEL}.external_lib=my.models",
            f"{MODEL}.external_lib: 'my.models'; it cannot be imported here (No module named 'my')",
        ),
        (f"{MODEL}.external_lib=''", f"{MODEL}.external_lib: ''; it cannot be imported here ("),
        (f"{MODEL}.external_lib=[json,optimisers_of_mine]", None),
        # verl calls it, whatever it is.
        (f"{ACTOR}.optim.optimizer_impl=optimisers_of_mine {ACTOR}.optim.optimizer=make", None),
        (f"{ACTOR}.optim.optimizer=SGD", None),
    ],
)
def test_modules_of_others_are_imported(overrides, expected, existing, tmp_path, monkeypatch):
    (tmp_path / "optimisers_of_mine.py").write_text("nothing = 3\ndef make(): ...\n")
    (tmp_path / "broken_of_mine.py").write_text("raise RuntimeError('bad')")
    monkeypatch.syspath_prepend(tmp_path)
    lines = found(existing, overrides)
    assert len(lines) == (expected is not None)
    assert all(line.startswith(expected) for line in lines)


def test_a_package_is_here_where_it_is_installed_or_imported(monkeypatch):
    assert is_here("json")
    assert not is_here("no_such_package")
    monkeypatch.setitem(sys.modules, "made_by_hand", types.ModuleType("made_by_hand"))
    assert is_here("made_by_hand")
