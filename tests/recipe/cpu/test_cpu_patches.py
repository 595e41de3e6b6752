"""Each cheap CPU patch: stock upstream fails without it, works with it, and drift is refused."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from recipe.holderpo.cpu import patches
from recipe.holderpo.cpu.shortcuts import MANAGER, leave_out
from recipe.holderpo.cpu.shortcuts.router import LocalRouter
from tests.recipe.composing import composed
from tests.recipe.cpu import upstream
from tests.recipe.sharing import made_once

pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """By kind of process and question: ``ok ...`` or the error's type and message."""
    return made_once(tmp_path_factory, "upstream", ask)


def ask(folder):
    shown = subprocess.run(
        [sys.executable, "-m", upstream.__name__],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout.splitlines()[-1])


def test_vllm_version_under_its_other_name(answers):
    assert answers["stock"]["vllm_version"].startswith("failed PackageNotFoundError")
    assert answers["cpu"]["vllm_version"] == "ok 0.28.0+cpu"


def test_process_group_of_the_cpu(answers):
    assert answers["stock"]["process_group"].startswith("failed ValueError Duplicate device type")
    assert answers["cpu"]["process_group"] == "ok gloo"


def test_fsdp_engine_for_the_cpu(answers):
    missing = "failed ValueError No engine registered for device='cpu'"
    assert answers["stock"]["fsdp_engine"].startswith(missing)
    assert answers["cpu"]["fsdp_engine"] == "ok FSDPEngineWithLMHead"


def test_vllm_keeps_the_weights_of_its_linear_layers(answers):
    assert answers["stock"]["kept_weights"] == "ok 0"
    assert answers["cpu"]["kept_weights"] == "ok 4096"


def test_vllm_forks_only_on_the_cpu_platform_with_shortcuts(answers):
    assert answers["stock"]["start_method"] == "ok spawn"
    assert answers["cpu"]["start_method"] == "ok fork"
    assert answers["cpu without shortcuts"]["start_method"] == "ok spawn"


def test_log_probs_of_all_tokens_together_are_those_one_by_one(answers):
    by_verl, calls = answers["stock"]["log_probs"].rsplit(" ", 1)
    assert by_verl.startswith("ok ")
    assert calls == "50", "one for each token"
    assert answers["cpu"]["log_probs"] == f"{by_verl} 1"
    assert answers["cpu without shortcuts"]["log_probs"] == f"{by_verl} 50"


def test_the_platform_is_never_auto_detected(answers):
    assert answers["stock"]["platform"] == "ok cuda"
    assert answers["cpu"]["platform"] == "ok cpu"


def test_a_symbol_that_has_moved_is_refused():
    with pytest.raises(patches.PatchError, match=r"upstream\.gone is gone"):
        patches.require(ModuleType("upstream"), "gone")


def test_the_local_router_answers_like_verls_actor():
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
