"""Each cheap CPU patch: stock upstream fails without it, works with it, and drift is refused."""

import subprocess
import sys
from types import ModuleType

import pytest

from recipe.holderpo.cpu import patches
from recipe.holderpo.cpu.shortcuts import MANAGER, VARIABLE, leave_out
from recipe.holderpo.cpu.shortcuts.router import LocalRouter
from tests.recipe.composing import composed

CPU = {"VERL_PLATFORM": "cpu"}


def outcome(code, **environment):
    """Last line a fresh process prints: ``ok ...`` or the error's type."""
    first_line = "str(error).strip().splitlines()[0]"
    shown_error = f"print('failed', type(error).__name__, {first_line})"
    wrapped = f"try:\n    {code}\nexcept Exception as error:\n    {shown_error}"
    shown = subprocess.run(
        [sys.executable, "-c", wrapped],
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return shown.stdout.splitlines()[-1]


def test_vllm_version_under_its_other_name():
    code = "import verl, importlib.metadata as m; print('ok', m.version('vllm'))"
    assert outcome(code).startswith("failed PackageNotFoundError")
    assert outcome(code, **CPU) == "ok 0.28.0+cpu"


def test_process_group_of_the_cpu():
    code = (
        "import os; os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='29712'); "
        "from verl.plugin.platform import PlatformRegistry, set_platform; "
        "import verl, recipe.holderpo.cpu.platform as p; set_platform(p.PlatformCPU()); "
        "import torch, verl.utils.distributed as d; d.initialize_global_process_group_ray(); "
        "print('ok', torch.distributed.get_backend())"
    )
    stock = outcome(code)
    assert stock.startswith("failed"), stock
    assert outcome(code, **CPU) == "ok gloo"


def test_fsdp_engine_for_the_cpu():
    code = (
        "from verl.workers.engine.base import EngineRegistry; import verl.workers.engine; "
        "import recipe.holderpo.cpu.platform as p; "
        "from verl.plugin.platform import set_platform; set_platform(p.PlatformCPU()); "
        "print('ok', EngineRegistry.get_engine_cls('language_model', 'fsdp2').__name__)"
    )
    assert outcome(code).startswith("failed ValueError No engine registered for device='cpu'")
    assert outcome(code, **CPU) == "ok FSDPEngineWithLMHead"


def test_vllm_keeps_the_weights_of_its_linear_layers():
    code = (
        "import verl, torch; from vllm.model_executor.layers import utils; "
        "layer = torch.nn.Linear(64, 64).requires_grad_(False); "
        "utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True); "
        "print('ok', layer.weight.numel())"
    )
    assert outcome(code) == "ok 0"
    assert outcome(code, **CPU) == "ok 4096"


def test_vllm_forks_only_on_the_cpu_platform_with_shortcuts():
    code = (
        "import os; os.environ['VLLM_WORKER_MULTIPROC_METHOD'] = 'spawn'; "
        "import verl; from vllm.utils.system_utils import get_mp_context; "
        "print('ok', get_mp_context().get_start_method())"
    )
    assert outcome(code) == "ok spawn"
    assert outcome(code, **CPU) == "ok fork"
    assert outcome(code, **CPU, **{VARIABLE: "0"}) == "ok spawn"


def test_the_platform_is_never_auto_detected():
    code = (
        "import verl, recipe.holderpo.cpu.platform; "
        "from verl.plugin.platform import get_platform; print('ok', get_platform().device_name)"
    )
    assert outcome(code) == "ok cuda"
    assert outcome(code, **CPU) == "ok cpu"


def test_a_symbol_that_has_moved_is_refused():
    with pytest.raises(patches.PatchError, match=r"upstream\.gone is gone"):
        patches.require(ModuleType("upstream"), "gone")


def test_the_local_router_answers_like_verls_actor():
    import asyncio

    router = LocalRouter("address", "handle")

    async def ask():
        fields = await router.require_acquire_fields.remote()
        return fields, await router.acquire_server.remote(request_id="r")

    assert asyncio.run(ask()) == ([], ("address", "handle"))


@pytest.mark.parametrize(
    ("overrides", "manager", "num_workers"),
    [
        ([], None, 1),
        (["reward.num_workers=2"], None, 2),
        (["actor_rollout_ref.rollout.agent.agent_loop_manager_class=mine.Manager"], "Manager", 1),
    ],
)
def test_without_shortcuts_the_workers_are_verls_own_or_the_users(overrides, manager, num_workers):
    config = composed("demo", overrides)
    leave_out(config)
    chosen = config.actor_rollout_ref.rollout.agent.agent_loop_manager_class
    assert (chosen and chosen.rpartition(".")[2]) == manager
    assert config.reward.num_workers == num_workers


def test_the_cpu_device_takes_the_shortcuts():
    config = composed("demo")
    assert config.cpu.shortcuts
    assert config.actor_rollout_ref.rollout.agent.agent_loop_manager_class == MANAGER
    assert config.reward.num_workers == 0
