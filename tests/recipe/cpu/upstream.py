"""What upstream does as it is and on the CPU platform; run by test_cpu_patches.py.

Prints one line of JSON: kind of process, question, answer. Each kind imports verl and vLLM once,
and each of its questions is asked in a fork of its own.
"""

import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import tempfile

from recipe.holderpo.cpu.shortcuts import VARIABLE
from tests.recipe.cpu.forks import forked, import_shared

ASKED = (
    "verl.utils.distributed",
    "verl.workers.engine",
    "vllm.utils.system_utils",
    "vllm.model_executor.layers.utils",
)


def vllm_version():
    import verl  # noqa: F401

    return importlib.metadata.version("vllm")


def _on_the_cpu():
    from verl.plugin.platform import set_platform

    from recipe.holderpo.cpu.platform import PlatformCPU

    set_platform(PlatformCPU())


def process_group():
    import torch
    from verl.utils import distributed

    _on_the_cpu()
    with tempfile.NamedTemporaryFile() as store:
        os.environ["DIST_INIT_METHOD"] = f"file://{store.name}"
        distributed.initialize_global_process_group_ray()
    return torch.distributed.get_backend()


def fsdp_engine():
    from verl.workers.engine.base import EngineRegistry

    _on_the_cpu()
    return EngineRegistry.get_engine_cls("language_model", "fsdp2").__name__


def kept_weights():
    import torch
    from vllm.model_executor.layers import utils

    layer = torch.nn.Linear(64, 64).requires_grad_(False)
    utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    return layer.weight.numel()


def start_method():
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    import verl  # noqa: F401
    from vllm.utils.system_utils import get_mp_context

    return get_mp_context().get_start_method()


def platform():
    import verl  # noqa: F401
    from verl.plugin.platform import platform_manager

    import recipe.holderpo.cpu.platform  # noqa: F401

    # Importing verl has asked for it before ours was there.
    platform_manager._current_platform = None
    return platform_manager.get_platform().device_name


def log_probs():
    """Digest of values and gradient, and how often logsumexp was called."""
    import torch
    from verl.utils.torch_functional import logprobs_from_logits

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 30, generator=generator).requires_grad_()
    found = logprobs_from_logits(logits, torch.randint(30, (50,), generator=generator))
    (found**2).sum().backward()
    values = (found.detach(), logits.grad)
    digest = hashlib.sha256(b"".join(one.numpy().tobytes() for one in values)).hexdigest()
    nodes, calls = {found.grad_fn}, 0
    while nodes:
        calls += sum("Logsumexp" in node.name() for node in nodes)
        nodes = {child for node in nodes for child, _ in node.next_functions if child is not None}
    return f"{digest} {calls}"


QUESTIONS = (
    *(vllm_version, process_group, fsdp_engine, kept_weights, start_method, platform),
    log_probs,
)


def answer(question):
    """``ok ...``, or the error's type and first line."""
    try:
        return f"ok {question()}"
    except Exception as error:
        return f"failed {type(error).__name__} {str(error).strip().splitlines()[0]}"


def answers():
    for name in ASKED:
        importlib.import_module(name)
    return {
        question.__name__: forked(functools.partial(answer, question)) for question in QUESTIONS
    }


def main():
    import_shared()
    found = {"stock": forked(answers)}
    os.environ["VERL_PLATFORM"] = "cpu"
    found["cpu"] = forked(answers)
    os.environ[VARIABLE] = "0"
    found["cpu without shortcuts"] = {
        question.__name__: forked(functools.partial(answer, question))
        for question in (start_method, log_probs)
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
