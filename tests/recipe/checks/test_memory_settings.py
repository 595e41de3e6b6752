"""What the memory of a run follows from: the model's sizes and verl's settings."""

import json
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from holderpo.memory.host_memory import Adapters
from holderpo.memory.sizes import Reference
from recipe.holderpo.checks import memory_settings
from recipe.holderpo.checks.memory import plan_memory
from recipe.holderpo.checks.memory_settings import (
    adapters_of,
    engine_of,
    log_prob_tokens,
    processes,
    training_of,
)
from recipe.holderpo.checks.model_shape import UnknownShapeError, model_shape
from tests.holderpo.memory.setups import ENGINE, MEASURED, QWEN25_1_5B, QWEN25_7B
from tests.recipe.checks.checking import ACTOR, MODEL, ROLLOUT
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import AS_MEASURED, CONFIGS, of
from tests.recipe.composing import composed

__all__ = ["of"]


def test_sizes_come_from_the_models_configuration(of):
    assert model_shape(of("1.5b")) == QWEN25_1_5B
    assert model_shape(of("7b")) == QWEN25_7B


def test_a_users_change_of_the_model_counts_as_verl_applies_it(of):
    shape = model_shape(of("1.5b", f"+{MODEL}.override_config.num_hidden_layers=2"))
    assert shape.layers == 2
    assert shape.layer_parameters == QWEN25_1_5B.layer_parameters


def test_adapters_are_counted_as_peft_makes_them(of):
    shape = model_shape(of("1.5b", f"{MODEL}.lora_rank=8 {MODEL}.target_modules=[q_proj,v_proj]"))
    # To and from rank 8: queries 1536 to 1536, values 1536 to 256.
    assert shape.adapter_parameters == 28 * 8 * (1536 + 1536 + 1536 + 256)
    assert replace(shape, adapter_parameters=0) == QWEN25_1_5B


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "is not on this machine"),
        ({"model_type": "no_such_model"}, "cannot be built from its config.json"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "cannot be built"),
    ],
)
def test_where_the_sizes_are_not_known_the_plan_says_why(config, reason, tmp_path):
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    composition = composed("math", [f"{MODEL}.path={tmp_path if config else 'someone/model'}"])
    with pytest.raises(UnknownShapeError, match=reason):
        model_shape(composition)
    made = plan_memory(composition)
    assert len(made.lines) == 1
    assert made.warnings == ()
    assert made.lines[0].startswith("memory     cannot be told: ")
    assert reason in made.lines[0]


def test_a_model_with_code_of_its_own_is_not_asked_about(of, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "n")
    own = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    with pytest.raises(UnknownShapeError, match="contains custom code"):
        model_shape(composed("math", [f"{MODEL}.path={tmp_path}"]))
    # A known configuration whose model alone is the folder's own is built as the known one.
    known = CONFIGS["1.5b"] | {"auto_map": {"AutoModelForCausalLM": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(known))
    assert model_shape(composed("math", [f"{MODEL}.path={tmp_path}"])) == QWEN25_1_5B
    assert asked == []


def test_the_settings_of_the_measured_run_are_read_as_they_were(of):
    config = of("1.5b", AS_MEASURED)
    assert training_of(config) == MEASURED
    assert engine_of(config) == ENGINE


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (f"{FSDP}.model_dtype=bf16", {"weight_bytes": 2, "state_bytes": 4, "step_bytes": 2}),
        (f"++{FSDP}.mixed_precision={{param_dtype:fp32}}", {"compute_bytes": 4}),
        (f"{ACTOR}.optim.override_optimizer_config={{fused:true}}", {"step_bytes": 0}),
        (f"{ACTOR}.optim.override_optimizer_config={{amsgrad:true}}", {"state_bytes": 12}),
        (f"{ACTOR}.optim.override_optimizer_config={{foreach:false}}", {"step_bytes": 0}),
        (f"{ACTOR}.optim.optimizer=AdamW8bit", {"state_bytes": 2, "step_bytes": 0}),
        (f"{MODEL}.enable_gradient_checkpointing=false", {"checkpoints_layers": False}),
        (f"{MODEL}.use_remove_padding=false", {"packed": False}),
        (f"{ACTOR}.entropy_coeff=0.01", {"trains_entropy": True}),
        (f"{ACTOR}.calculate_entropy=true", {"trains_entropy": True}),
        (f"{ACTOR}.entropy_from_logits_with_chunking=true", {"entropy_chunk": 2048}),
        (f"{FSDP}.use_torch_compile=false", {"compiles_entropy": False}),
        (f"{ROLLOUT}.temperature=0.9", {"scales_logits": True}),
        (f"{ACTOR}.strategy=fsdp", {"strategy": "fsdp"}),
        (f"{FSDP}.reshard_after_forward=false", {"reshards": False}),
        (f"{FSDP}.param_offload=true", {"weights_rest_on_host": True}),
        (f"{FSDP}.optimizer_offload=true", {"optimizer_rests_on_host": True}),
        (f"{ROLLOUT}.log_prob_max_token_len_per_gpu=5000", {"log_prob_tokens": 5000}),
        # 16 rows of 4,024 tokens are more than the budget.
        (f"{ACTOR}.ppo_max_token_len_per_gpu=100000", {"update_tokens": 64_384}),
        (f"{ACTOR}.use_dynamic_bsz=false {ACTOR}.ppo_micro_batch_size_per_gpu=4", {}),
    ],
)
def test_every_setting_of_verl_is_read(overrides, changed, of):
    training = training_of(of("1.5b", f"{AS_MEASURED} {overrides}"))
    if "use_dynamic_bsz" in overrides:
        changed = {"update_tokens": 4 * 4024}
    for name, value in changed.items():
        assert getattr(training, name) == value
    assert training != MEASURED


def test_gpus_share_copies_and_rows(of):
    training = training_of(of("1.5b", f"trainer.nnodes=2 {FSDP}.fsdp_size=4"))
    assert (training.gpus, training.shards) == (8, 4)
    assert training_of(of("1.5b")).shards == 4
    # Ulysses: a budget is of a GPU, and a row is cut in two.
    small = f"{ACTOR}.ppo_mini_batch_size=1 {ACTOR}.ulysses_sequence_parallel_size=2"
    assert training_of(of("1.5b", small)).update_tokens == 4 * 4024 // 2


def test_each_turn_of_an_agent_is_a_row(of):
    few = f"data.train_batch_size=1 {ROLLOUT}.n=2"
    # 2 episodes of 50 turns on 4 GPUs fill the budget; 2 answers do not.
    assert training_of(of("1.5b", few, "alfworld")).log_prob_tokens == 16_384
    assert training_of(of("1.5b", few)).log_prob_tokens == 4024


def test_a_reference_model_is_counted_where_there_is_one(of):
    kl, ref = f"{ACTOR}.use_kl_loss=true", "actor_rollout_ref.ref"
    assert training_of(of("1.5b")).reference is None
    assert training_of(of("1.5b", kl)).reference == Reference(4, shards=4)
    assert training_of(of("1.5b", f"{kl} {MODEL}.lora_rank=8")).reference is None
    own = f"{kl} {ref}.fsdp_config.fsdp_size=2 {ref}.fsdp_config.model_dtype=bf16"
    assert training_of(of("1.5b", own)).reference == Reference(2, shards=2)
    larger = of("1.5b", f"{kl} {ref}.log_prob_max_token_len_per_gpu=40000")
    assert training_of(larger).log_prob_tokens == 40_000
    assert log_prob_tokens(larger) == {"rollout": 16_384, "ref": 40_000}


def test_adapters_go_over_apart_unless_they_are_merged(of):
    lora = f"{MODEL}.lora_rank=8"
    assert adapters_of(of("1.5b")) is None
    assert adapters_of(of("1.5b", lora)) == Adapters(1, 2, sends_weights=True)
    assert adapters_of(of("1.5b", f"{lora} {MODEL}.lora.merge=true")) is None
    assert adapters_of(of("1.5b", f"{lora} {ROLLOUT}.free_cache_engine=false")) is None
    loads = adapters_of(of("1.5b", f"{lora} {ROLLOUT}.load_format=safetensors"))
    assert loads == Adapters(1, 2, sends_weights=False)


@pytest.mark.parametrize(
    ("overrides", "variable", "is_here", "installed", "expected"),
    [
        # As verl imports it, wherever that can be looked at; else as attention tells.
        ("", None, True, True, True),
        ("", None, True, False, False),
        (f"{MODEL}.override_config.attn_implementation=sdpa", None, True, True, True),
        (f"{MODEL}.override_config.attn_implementation=sdpa", None, False, True, False),
        ("", None, False, False, True),
        ("", "1", True, True, False),
        ("", "1", False, True, False),
        (f"{FSDP}.full_determinism=true", None, True, True, False),
        # verl leaves the variable as it is, then.
        (f"{FSDP}.full_determinism=true", "0", True, True, True),
    ],
)
def test_flash_attns_cross_entropy_is_taken_where_the_package_is(
    overrides, variable, is_here, installed, expected, of, monkeypatch
):
    monkeypatch.delenv("VERL_DISABLE_FLASH_ATTN_CE", raising=False)
    if variable:
        monkeypatch.setenv("VERL_DISABLE_FLASH_ATTN_CE", variable)
    found = object() if installed else None
    monkeypatch.setattr(memory_settings.importlib.util, "find_spec", lambda name: found)
    training = training_of(of("1.5b", overrides), is_here=is_here)
    assert training.flash_cross_entropy is expected


class MostMade(TorchDispatchMode):
    """Most bytes at a time of tensors that were made in it."""

    def __init__(self):
        super().__init__()
        self.made, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.made[storage._cdata] = (weakref.ref(tensor), storage.nbytes())
        alive = [size for ref, size in self.made.values() if ref() is not None]
        self.most = max(self.most, sum(alive))
        return out


def kept_and_made(name, **settings):
    """State, and the most that a later step on all tensors makes, over all parameters."""
    parameters = [torch.ones(1000, requires_grad=True) for _ in range(4)]
    optimiser = getattr(torch.optim, name)(parameters, lr=0.1, foreach=True, **settings)
    for _ in range(2):
        for one in parameters:
            one.grad = torch.ones(1000)
        with MostMade() as made:
            optimiser.step()
    states = [one for state in optimiser.state.values() for one in state.values()]
    kept = sum(one.nbytes for one in states if torch.is_tensor(one) and one.numel() == 1000)
    return kept // 16_000, round(made.most / 16_000)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("AdamW", {}),
        ("AdamW", {"amsgrad": True}),
        ("Adam", {}),
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("Adagrad", {}),
        ("Adadelta", {}),
        ("Adamax", {}),
        ("NAdam", {}),
        ("RAdam", {}),
        ("ASGD", {}),
    ],
)
def test_optimisers_keep_and_make_as_much_as_torch_does(name, own, decay, of):
    kept, made = kept_and_made(name, weight_decay=decay, **own)
    settings = ",".join(f"{key}:{value}" for key, value in own.items())
    overrides = f"{ACTOR}.optim.optimizer={name} {ACTOR}.optim.weight_decay={decay}"
    if own:
        overrides += f" {ACTOR}.optim.override_optimizer_config={{{settings}}}"
    training = training_of(of("1.5b", overrides))
    assert (training.state_bytes, training.step_bytes) == (4 * kept, 4 * made)


def test_more_workers_are_more_processes(of):
    few, many = (processes(of("1.5b", f"reward.num_workers={n}")) for n in (2, 6))
    assert many - few == 4
