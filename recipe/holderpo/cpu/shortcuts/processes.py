"""Changes of upstream code that save processes, imports, messages and small operations.

Each names the upstream it is for and refuses others, as those of ``recipe.holderpo.cpu.patches``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from wrapt import register_post_import_hook

from recipe.holderpo.cpu.patches import require

# Of Linux's prctl: the name of the calling thread.
_PR_SET_NAME = 15


def apply() -> None:
    """Apply them, each when its module is imported; called once in every process."""
    register_post_import_hook(route_without_actor, "verl.workers.rollout.router")
    register_post_import_hook(fork_vllm_processes, "vllm.utils.system_utils")
    register_post_import_hook(name_forked_processes, "vllm.utils.system_utils")
    register_post_import_hook(take_tokens_together, "verl.utils.torch_functional")


def fork_vllm_processes(system_utils: ModuleType) -> None:
    """Start vLLM's engine and worker by fork instead of spawn.

    Reason: vLLM 0.28.0 spawns on a CPU and inside a Ray actor whatever its setting says, so that
    each of the two imports vLLM anew (10 s). Neither of them uses Ray or has a CUDA context, which
    are what would not survive a fork.
    """
    original = require(system_utils, "get_mp_context")
    setattr(system_utils, original.__name__, lambda: multiprocessing.get_context("fork"))


def name_forked_processes(system_utils: ModuleType) -> None:
    """Give the forked engine and worker their names, by which the watch knows them.

    Reason: vLLM 0.28.0 names them with setproctitle, which has no effect in a process forked from a
    Ray actor: Ray has moved the command line that would be overwritten.
    """
    original = require(system_utils, "set_process_title")
    prefix = require(system_utils, "envs").VLLM_PROCESS_NAME_PREFIX

    def set_process_title(name: str, suffix: str = "", prefix: str = prefix) -> None:
        title = f"{prefix}::{name}_{suffix}" if suffix else f"{prefix}::{name}"
        ctypes.CDLL(None).prctl(_PR_SET_NAME, title.encode(), 0, 0, 0)

    setattr(system_utils, original.__name__, set_process_title)


def group_writes(agent_loop_tq: ModuleType, stand_in: Any) -> None:
    """Let rollout workers write a prompt's responses together.

    Reason: verl 0.9.1 (``verl.trainer.ppo.v1.agent_loop_tq``) packs and writes each response on its
    own, three messages each.

    Args:
        agent_loop_tq: the module; its ``tq`` becomes ``stand_in``, which gets rows as plain dicts.
        stand_in: gathers the rows and writes them.
    """
    require(agent_loop_tq, "tq")
    require(agent_loop_tq, "list_of_dict_to_tensordict")
    setattr(agent_loop_tq, "tq", stand_in)  # noqa: B010  (a module's attribute, for mypy)
    setattr(agent_loop_tq, "list_of_dict_to_tensordict", list)  # noqa: B010


def route_without_actor(router: ModuleType) -> None:
    """Do without a load-balancer process where there is one vLLM server.

    Reason: verl 0.9.1 (``verl.workers.rollout.router``) starts an actor that imports all of verl,
    and asks it twice for every response, to choose among one.
    """
    original = require(router, "get_router_handle")

    def get_router_handle(servers: dict[str, Any], **settings: Any) -> Any:
        if len(servers) != 1:
            return original(servers, **settings)
        from recipe.holderpo.cpu.shortcuts.router import LocalRouter

        return LocalRouter(*next(iter(servers.items())))

    setattr(router, original.__name__, get_router_handle)


def take_tokens_together(torch_functional: ModuleType) -> None:
    """Take the log-probabilities of all tokens at once.

    With one thread they are the same, bit by bit; with more and a vocabulary of tens of thousands
    the sums are split otherwise (differences of 4e-6).

    Reason: verl 0.9.1 (``verl.utils.torch_functional``), without flash-attn's cross-entropy, calls
    ``logsumexp`` for each row of the logits to save memory, and without flash-attn a row is a
    token: thousands of small operations, a third of an update of a tiny model.
    """
    original = require(torch_functional, "logprobs_from_logits_v2")

    def logprobs_from_logits_v2(logits: Tensor, labels: Tensor) -> Tensor:
        if logits.dtype not in (torch.float32, torch.float64):
            answer: Tensor = original(logits, labels)
            return answer
        chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return chosen - logits.logsumexp(-1)

    setattr(torch_functional, original.__name__, logprobs_from_logits_v2)
