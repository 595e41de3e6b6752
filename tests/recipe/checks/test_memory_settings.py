"""What the memory of a run follows from: the model's sizes and verl's settings."""

import json
from dataclasses import replace

import pytest

from recipe.holderpo.checks.memory import plan_memory
from recipe.holderpo.checks.memory_settings import (
    engine_of,
    processes,
    reference_bytes,
    training_of,
)
from recipe.holderpo.checks.model_shape import UnknownShapeError, model_shape
from tests.holderpo.memory.setups import ENGINE, MEASURED, QWEN25_1_5B, QWEN25_7B
from tests.recipe.checks.checking import ACTOR, MODEL, ROLLOUT
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.checks.memory_runs import AS_MEASURED, of
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
        (f"{ACTOR}.optim.optimizer=SGD", {"state_bytes": 0, "step_bytes": 0}),
        (f"{ACTOR}.optim.optimizer=AdamW8bit", {"state_bytes": 2, "step_bytes": 0}),
        (f"{MODEL}.enable_gradient_checkpointing=false", {"checkpoints_layers": False}),
        (f"{MODEL}.use_remove_padding=false", {"packed": False}),
        (f"{ACTOR}.entropy_coeff=0.01", {"trains_entropy": True}),
        (f"{ACTOR}.calculate_entropy=true", {"trains_entropy": True}),
        (f"{ACTOR}.entropy_from_logits_with_chunking=true", {"entropy_chunk": 2048}),
        (f"{FSDP}.use_torch_compile=false", {"compiles_entropy": False}),
        (f"{ROLLOUT}.temperature=0.9", {"scales_logits": True}),
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
    assert reference_bytes(of("1.5b")) is None
    assert reference_bytes(of("1.5b", f"{ACTOR}.use_kl_loss=true")) == 4
    assert reference_bytes(of("1.5b", f"{ACTOR}.use_kl_loss=true {MODEL}.lora_rank=8")) is None
    larger = f"{ACTOR}.use_kl_loss=true actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=40000"
    assert training_of(of("1.5b", larger)).log_prob_tokens == 40_000


def test_more_workers_are_more_processes(of):
    few, many = (processes(of("1.5b", f"reward.num_workers={n}")) for n in (2, 6))
    assert many - few == 4
