"""What follows from the machine that a run starts on, with machines of all sizes."""

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks import this_machine
from recipe.holderpo.checks.attention import ATTENTION, FLASH_2, SDPA
from recipe.holderpo.checks.from_machine import RAY_CPUS, STORAGE_UNITS, fill_in
from recipe.holderpo.checks.sdpa_cost import cost_of_sdpa
from recipe.holderpo.checks.settings import check_config
from recipe.holderpo.checks.this_machine import Machine
from tests.recipe.checks.checking import ACTOR, ENGINE, MODEL, ROLLOUT
from tests.recipe.composing import composed

LOOPS, REWARDS = f"{ROLLOUT}.agent.num_workers", "reward.num_workers"
REFERENCE = f"{ACTOR}.use_kl_loss=true actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=64"


@pytest.fixture(autouse=True)
def no_running_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def filled(name, machine, *overrides, on_cluster=False):
    config = composed(name, overrides)
    fill_in(config, machine, on_cluster=on_cluster)
    return config


def values(config):
    return {
        name: OmegaConf.select(config, name)
        for name in (LOOPS, REWARDS, STORAGE_UNITS, ATTENTION, RAY_CPUS)
    }


@pytest.mark.parametrize(
    ("cpus", "loops", "rewards", "units", "ray"),
    [
        # Ray has to count 3 for the GPU, 1 for the controller and the storage, whatever there is.
        (1, 1, 1, 1, 5),
        (4, 1, 1, 1, 5),
        (8, 2, 1, 1, 8),
        (16, 4, 2, 2, 16),
        (64, 8, 8, 8, 64),
        (256, 8, 8, 8, 256),
    ],
)
def test_processes_follow_the_number_of_cpus(cpus, loops, rewards, units, ray):
    config = filled("demo", Machine(cpus, 1), "device=cuda")
    assert values(config) == {
        LOOPS: loops,
        REWARDS: rewards,
        STORAGE_UNITS: units,
        ATTENTION: FLASH_2,
        RAY_CPUS: ray,
    }


@pytest.mark.parametrize(
    ("gpus", "cpus"), [(1, 1), (1, 2), (1, 12), (1, 192), (8, 8), (4, 96), (8, 256)]
)
def test_the_demo_needs_no_further_setting_on_any_machine(gpus, cpus, existing, monkeypatch):
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: cpus)
    config = composed("demo", [*existing, "device=cuda"])
    plan = check_config(config)
    unused = [line for line in plan.warnings if "are not used" in line]
    assert len(unused) == (gpus > 1)
    assert list(plan.warnings) == unused
    assert "devices    1 x 1 cuda" in plan.lines
    assert config.actor_rollout_ref.rollout.tensor_model_parallel_size == 1


def test_what_is_given_stands():
    given = {LOOPS: 3, REWARDS: 5, STORAGE_UNITS: 2, ATTENTION: "eager", RAY_CPUS: 7}
    config = composed("demo", ["device=cuda", *(f"{name}={given[name]}" for name in given)])
    assert fill_in(config, Machine(64, 1), on_cluster=False).names == ()
    assert values(config) == given


def test_the_paper_s_machines_keep_their_own_numbers():
    config = composed("math_qwen25_math_7b")
    assert REWARDS not in fill_in(config, Machine(96, 4, False), on_cluster=False).names
    assert values(config)[REWARDS] == 2
    assert values(config)[ATTENTION] == FLASH_2


def test_environments_are_counted_too():
    config = filled("alfworld_qwen25_1_5b", Machine(2, 4), "agent.environment.num_workers=3")
    # 3 for each of 4 devices, 1 and 1 for TransferQueue, 1.5 for environments.
    assert values(config)[RAY_CPUS] == 16


def test_a_cluster_gets_verl_s_numbers_and_its_own_count():
    small = Machine(4, 1, has_flash_attention=False)
    config = filled("demo", small, "device=cuda", f"{REWARDS}=3", on_cluster=True)
    assert values(config) == {
        LOOPS: 8,
        REWARDS: 3,
        STORAGE_UNITS: 8,
        ATTENTION: FLASH_2,
        RAY_CPUS: None,
    }


def test_the_plan_of_a_run_on_a_cluster_says_whose_machine_it_shows(existing, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    plan = shown(existing, monkeypatch, f"{REWARDS}=1")
    first = plan.lines.index("devices    1 x 1 cuda") + 1
    assert plan.lines[first : first + 4] == (
        "machine    this machine (the cluster's are not known yet): 16 CPUs, 2 GPUs, no flash-attn",
        f"by default {LOOPS}=8",
        f"by default {STORAGE_UNITS}=8",
        f"by default {ATTENTION}=flash_attention_2",
    )
    assert plan.warnings == ()


BY_PARAM = "++{}.mixed_precision.param_dtype={}"


@pytest.mark.parametrize(
    ("overrides", "has_flash", "attention"),
    [
        ("", True, FLASH_2),
        ("", False, SDPA),
        # Nothing else could share a response between devices: refused where it is not there.
        (f"{ACTOR}.ulysses_sequence_parallel_size=2", False, FLASH_2),
        *[(BY_PARAM.format(ENGINE, name), True, SDPA) for name in ("fp32", "float32", "32")],
        (BY_PARAM.format(ENGINE, "bf16"), True, FLASH_2),
        # Of a reference model only where there is one.
        (BY_PARAM.format("actor_rollout_ref.ref.fsdp_config", "fp32"), True, FLASH_2),
        (f"{REFERENCE} {BY_PARAM.format('actor_rollout_ref.ref.fsdp_config', 'fp32')}", True, SDPA),
    ],
)
def test_flash_attention_is_taken_where_it_can_be(overrides, has_flash, attention):
    machine = Machine(16, 1, has_flash)
    config = filled("demo", machine, "device=cuda", *overrides.split())
    assert values(config)[ATTENTION] == attention


def shown(existing, monkeypatch, *overrides):
    """The plan on a machine of 16 CPUs and 2 GPUs without flash-attn."""
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 2)
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 16)
    monkeypatch.setattr(this_machine, "look_for_flash_attention", lambda: (False, None))
    return check_config(composed("demo", [*existing, "device=cuda", *overrides]))


def test_the_plan_shows_what_was_taken_from_the_machine(existing, monkeypatch):
    plan = shown(existing, monkeypatch, f"{REWARDS}=1")
    first = plan.lines.index("devices    1 x 1 cuda") + 1
    assert plan.lines[first : first + 5] == (
        "machine    16 CPUs, 2 GPUs of which 1 is used, no flash-attn",
        f"from it    {LOOPS}=4",
        f"from it    {STORAGE_UNITS}=2",
        f"from it    {ATTENTION}=sdpa",
        f"from it    {RAY_CPUS}=16",
    )


def test_the_want_of_flash_attention_is_said_with_its_cost(existing, monkeypatch):
    # 64 rows of at most 18 + 18 tokens.

    def said(*overrides):
        warnings = shown(existing, monkeypatch, *overrides).warnings
        (warning,) = [warning for warning in warnings if warning.startswith(ATTENTION)]
        return warning

    warning = said()
    assert warning == (
        f"{ATTENTION} is 'sdpa', because flash-attn is not installed here: attention goes over "
        "whole micro-batches of up to 2,304 tokens, 128 times its arithmetic for rows of 36 "
        "tokens, more for shorter ones, and a mask of 5 MB (install it (README, Train on GPUs), "
        f"or lower {ACTOR}.ppo_micro_batch_size_per_gpu)"
    )
    by_tokens = [f"{ACTOR}.use_dynamic_bsz=true", f"{ACTOR}.ppo_max_token_len_per_gpu=360"]
    warning = said(*by_tokens)
    assert "up to 360 tokens, 20 times its arithmetic" in warning
    assert warning.endswith(f"or lower {ACTOR}.ppo_max_token_len_per_gpu)")
    assert "attention goes over micro-batches of up to 36 tokens (" in said(
        f"{ACTOR}.ppo_micro_batch_size_per_gpu=1"
    )
    padded = said(f"{MODEL}.use_remove_padding=false")
    assert "attention goes over rows padded to the longest one" in padded


def test_the_mask_of_a_large_pack_is_told():
    given = [f"{ACTOR}.use_dynamic_bsz=true", f"{ACTOR}.ppo_max_token_len_per_gpu=16384"]
    config = composed("demo", ["device=cuda", "data.max_response_length=1006", *given])
    assert cost_of_sdpa(config) == (
        "over whole micro-batches of up to 16,384 tokens, 32 times its arithmetic for rows of "
        "1,024 tokens, more for shorter ones, and a mask of 268 MB"
    )


def test_float32_is_named_as_the_reason_where_flash_attention_is_there(existing, monkeypatch):
    ask = f"++{ENGINE}.mixed_precision.param_dtype=fp32"
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 1)
    (warning,) = check_config(composed("demo", [*existing, "device=cuda", ask])).warnings
    assert warning.startswith(
        f"{ATTENTION} is 'sdpa', because flash-attn computes in 16 bits, and "
        f"{ENGINE}.mixed_precision.param_dtype asks for float32: attention goes over"
    )
    assert "(give bf16 there, or lower " in warning


def test_what_sdpa_masks_is_a_square_of_the_pack():
    """transformers makes a mask of N x N for packed rows, and none for a single row."""
    import torch
    from transformers import Qwen2Config
    from transformers.masking_utils import create_causal_mask

    settings = Qwen2Config(attn_implementation="sdpa", num_hidden_layers=1)

    def mask(*lengths):
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        return create_causal_mask(
            config=settings,
            inputs_embeds=torch.zeros(1, positions.shape[1], 8),
            attention_mask=None,
            past_key_values=None,
            position_ids=positions,
        )

    assert mask(3, 5).shape[-2:] == (8, 8)
    assert mask(3, 5).element_size() == 1
    assert mask(8) is None


def test_who_chooses_sdpa_knows_it(existing, monkeypatch):
    warnings = shown(existing, monkeypatch, f"{ATTENTION}=sdpa").warnings
    assert not [line for line in warnings if ATTENTION in line]


def test_gpus_that_nobody_uses_are_said(existing, monkeypatch):
    count = "trainer.n_gpus_per_node"

    def unused(*overrides):
        warnings = shown(existing, monkeypatch, f"{ATTENTION}=sdpa", *overrides).warnings
        return [line for line in warnings if "not used" in line]

    assert unused() == [
        f"{count} is 1: 1 of the 2 GPUs that this machine shows are not used (set {count}=2, or "
        "show fewer with CUDA_VISIBLE_DEVICES)"
    ]
    sizes = [f"{ACTOR}.ppo_micro_batch_size_per_gpu=32"]
    more = [*sizes, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=64", f"{count}=2"]
    assert unused(*more) == []
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: 8)
    # Who gives another number has counted.
    config = composed("demo", [*existing, "device=cuda", *more])
    assert not [line for line in check_config(config).warnings if "not used" in line]


def test_a_run_on_a_cpu_takes_nothing_from_the_machine(existing, monkeypatch):
    monkeypatch.setattr(this_machine, "visible_gpus", lambda: pytest.fail("not asked"))
    config = composed("demo", existing)
    before = config.copy()
    plan = check_config(config)
    assert config == before
    assert not [line for line in plan.lines if line.startswith(("machine", "from it"))]


def test_settings_of_a_wrong_kind_are_left_to_the_checks(existing):
    wrong = ["trainer.n_gpus_per_node=two", f"{STORAGE_UNITS}=many"]
    config = filled("demo", Machine(16, 1), "device=cuda", *wrong)
    assert values(config)[RAY_CPUS] is None
    assert values(config)[STORAGE_UNITS] == "many"


def test_what_ray_counts_is_enough_also_on_a_cpu(existing, monkeypatch):
    monkeypatch.setattr(this_machine, "usable_cpus", lambda: 2)
    config = composed("demo", [*existing, f"{RAY_CPUS}=null"])
    check_config(config)
    # 3 for the device, 1 and 1 for TransferQueue.
    assert values(config)[RAY_CPUS] == 5
