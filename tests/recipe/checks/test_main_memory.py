"""Main memory: compared with this machine's, and what is to be lowered."""

import pytest

from holderpo.memory.sizes import GIB
from recipe.holderpo.checks import machine_memory
from recipe.holderpo.checks.memory import plan_memory
from tests.recipe.checks.checking import ACTOR, MODEL, ROLLOUT
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import of, plan_on

__all__ = ["of"]


REF = "actor_rollout_ref.ref"
FEW = f"{ROLLOUT}.agent.num_workers=1 reward.num_workers=1"


@pytest.mark.parametrize(
    ("model", "overrides", "fix"),
    [
        ("7b", "", "most is of processes: lower actor_rollout_ref.rollout.agent.num_workers"),
        (
            "1.5b",
            f"trainer.n_gpus_per_node=16 {FEW}",
            "most is of copies that are loaded: each GPU's",
        ),
        ("7b", f"{FSDP}.optimizer_offload=true", "most is of what is offloaded: offload less"),
        (
            "7b",
            f"{ACTOR}.use_kl_loss=true {FEW}",
            "while the reference model is loaded, this machine has 16.0; most is of copies that "
            "are loaded: do without the reference model",
        ),
        (
            "7b",
            f"{FEW} {FSDP}.fsdp_size=1",
            "most is of copies that are loaded: the first process of each copy loads",
        ),
        (
            "7b",
            f"{MODEL}.lora_rank=8",
            f"go over, this machine has 16.0; most is of copies that are loaded: set "
            f"{ROLLOUT}.load_format=safetensors",
        ),
        (
            "7b",
            f"{MODEL}.lora_rank=8 {ROLLOUT}.load_format=safetensors",
            f"most is of weights of sleeping engines: set {MODEL}.lora.merge=true",
        ),
    ],
)
def test_what_most_of_main_memory_is_for_is_to_be_lowered(model, overrides, fix, of, monkeypatch):
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 16 * GIB)
    warnings = plan_on(of(model, overrides), 180, monkeypatch).warnings
    (warning,) = (one for one in warnings if one.startswith("main memory: "))
    assert fix in warning


def test_main_memory_is_compared_where_the_run_is_to_be(of, monkeypatch):
    assert plan_on(of("7b"), 80, monkeypatch).warnings == ()
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 16 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert "main memory: " in warning
    assert "68.4 GiB expected while the model is loaded, this machine has 16.0" in warning
    monkeypatch.setattr(machine_memory, "own_memory", lambda: 70 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert warning.startswith("main memory: close: 68.4 GiB expected")
    # On a cluster the machines are others.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert plan_memory(of("7b")).warnings == ()
