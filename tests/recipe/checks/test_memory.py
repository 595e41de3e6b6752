"""The memory that a plan expects: from which settings, shown how, and what is to be lowered."""

import json
import re
from dataclasses import replace

import pytest

from holderpo.memory.gpu_memory import STEP
from holderpo.memory.sizes import GIB
from recipe.holderpo.checks import machine, plan
from recipe.holderpo.checks.memory import MemoryPlan, plan_memory
from recipe.holderpo.checks.memory_settings import (
    engine_of,
    processes,
    reference_bytes,
    training_of,
)
from recipe.holderpo.checks.model_shape import UnknownShapeError, model_shape
from recipe.holderpo.checks.same_settings import compare
from recipe.holderpo.checks.settings import check_config
from tests.holderpo.memory.setups import ENGINE, MEASURED, QWEN25_1_5B, QWEN25_7B
from tests.recipe.checks.checking import ACTOR, FOUR_GPUS, MODEL, ROLLOUT, refusals
from tests.recipe.checks.checking import ENGINE as FSDP
from tests.recipe.composing import composed

# Their published config.json, as far as it matters here.
CONFIGS = {
    "1.5b": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    "7b": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    },
}
# How the run on an H200 was started.
AS_MEASURED = (
    f"{MODEL}.use_fused_kernels=true {MODEL}.override_config.attn_implementation=sdpa "
    f"trainer.n_gpus_per_node=1 data.train_batch_size=8 {ACTOR}.ppo_mini_batch_size=2 "
    f"{ACTOR}.ppo_max_token_len_per_gpu=8192"
)
SHARE = f"{ROLLOUT}.gpu_memory_utilization"
# Where Adam's copy in the step is what does not fit.
ON_ONE = (
    f"trainer.n_gpus_per_node=1 gpu_memory_gib=29 {ACTOR}.ppo_max_token_len_per_gpu=4096 "
    f"{MODEL}.use_fused_kernels=true"
)


@pytest.fixture
def of(tmp_path):
    """A configuration of a model of which only config.json is there."""

    def make(model, overrides="", name="math"):
        folder = tmp_path / model
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CONFIGS[model]))
        return composed(name, [f"{MODEL}.path={folder}", *overrides.split()])

    return make


def plan_on(config, gib, monkeypatch):
    monkeypatch.setattr(machine, "gpu_memory_here", lambda: int(gib * GIB))
    return plan_memory(config)


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


def test_adapters_alone_are_saved_and_vllms_weights_sleep_in_main_memory(of):
    lora = f"{MODEL}.lora_rank=8"
    lines = plan_memory(of("7b", lora)).lines
    assert lines[-1].startswith("disk       30.7 GB")
    # 4 engines of 15.2 GB in bfloat16.
    assert "56.7 offloaded" in lines[-2]
    merged = plan_memory(of("7b", f"{lora} {MODEL}.lora.merge=true")).lines
    assert "0.0 offloaded" in merged[-2]
    only = plan_memory(of("7b", f"{lora} ++{ACTOR}.checkpoint.save_lora_only=true")).lines
    assert only[-1].startswith("disk       0.2 GB")


def test_a_reference_model_is_counted_where_there_is_one(of):
    assert reference_bytes(of("1.5b")) is None
    assert reference_bytes(of("1.5b", f"{ACTOR}.use_kl_loss=true")) == 4
    assert reference_bytes(of("1.5b", f"{ACTOR}.use_kl_loss=true {MODEL}.lora_rank=8")) is None
    larger = f"{ACTOR}.use_kl_loss=true actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=40000"
    assert training_of(of("1.5b", larger)).log_prob_tokens == 40_000


def test_more_workers_are_more_processes(of):
    few, many = (processes(of("1.5b", f"reward.num_workers={n}")) for n in (2, 6))
    assert many - few == 4


def test_the_measured_run_is_shown_with_every_moment(of, monkeypatch):
    lines = plan_on(of("1.5b", AS_MEASURED), 139.8, monkeypatch).lines
    assert lines[0] == (
        "memory     1.54 B parameters; on each GPU, in GiB: weights 5.8, gradients 5.8, optimiser "
        "state 11.5, its step 5.8, activations 1.6, logits 1.4 (of 8,192 tokens)"
    )
    assert re.search(r"expected, in GiB: 87\.\d while answers are generated, ", lines[1])
    assert lines[1].endswith("at most 63% of the 139.8 of the GPU here")
    assert [line[:11].strip() for line in lines] == ["memory", "", "", "", "disk"]
    assert lines[-1].startswith("disk       18.5 GB for each checkpoint, 37.0 GB for the 2 that")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("", "37.0 GB for the 2 that are kept, and one more while it is written"),
        ("trainer.max_actor_ckpt_to_keep=null", "92.6 GB for the 5 that are kept"),
        ("trainer.total_training_steps=150", "37.0 GB for the 2 that are kept"),
        ("trainer.total_training_steps=60", "18.5 GB for the one that is kept"),
        ("trainer.save_freq=-1", "no checkpoints are written"),
    ],
)
def test_disk_is_of_all_checkpoints_that_are_kept(overrides, line, of):
    assert plan_memory(of("1.5b", overrides)).lines[-1].endswith(line)


def test_without_a_gpu_the_setting_is_the_card_and_without_both_there_is_none(of):
    assert "of the 80.0 of gpu_memory_gib" in plan_memory(of("7b")).lines[1]
    made = plan_memory(of("7b", "gpu_memory_gib=null"))
    assert made.lines[1].endswith("share, 0.5 of a GPU: give gpu_memory_gib to compare")
    assert made.warnings == ()


def test_the_gpu_at_hand_counts_unless_the_run_is_on_a_cluster(of, monkeypatch):
    assert "of the 24.0 of the GPU here" in plan_on(of("7b"), 24, monkeypatch).lines[1]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "of the 80.0 of gpu_memory_gib" in plan_on(of("7b"), 24, monkeypatch).lines[1]


@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_the_papers_machine_is_large_enough(model, of):
    assert plan_memory(of(model)).warnings == ()


@pytest.mark.parametrize(
    ("model", "overrides", "fix"),
    [
        ("7b", f"{SHARE}=0.8", f"lower {SHARE} from 0.8 to 0.7"),
        ("7b", f"{ROLLOUT}.free_cache_engine=false", f"set {ROLLOUT}.free_cache_engine=true"),
        (
            "7b",
            f"{MODEL}.enable_gradient_checkpointing=false",
            f"set {MODEL}.enable_gradient_checkpointing=true",
        ),
        (
            "7b",
            f"{ACTOR}.ppo_max_token_len_per_gpu=131072 "
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=16384",
            f"lower {ACTOR}.ppo_max_token_len_per_gpu from 131072 to 65536",
        ),
        (
            "1.5b",
            f"{ACTOR}.ppo_max_token_len_per_gpu=131072 {MODEL}.use_fused_kernels=false "
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=16384 gpu_memory_gib=48",
            f"set {MODEL}.use_fused_kernels=true",
        ),
        (
            "7b",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu=262144",
            "in actor_rollout_ref.rollout lower log_prob_max_token_len_per_gpu from 262144 to",
        ),
        (
            "1.5b",
            f"{ON_ONE} {SHARE}=0.25",
            f"29.0 of gpu_memory_gib, 30.9 in the optimiser step: set "
            f"{ACTOR}.optim.override_optimizer_config={{fused:true}}",
        ),
        (
            "1.5b",
            f"{ON_ONE} {SHARE}=0.8",
            f"lower {SHARE} from 0.8 to 0.3, and set {ACTOR}.optim.override_optimizer_config="
            "{fused:true}",
        ),
        (
            "7b",
            "trainer.n_gpus_per_node=1",
            f"set {FSDP}.offload_policy=true (slow: the optimiser step is on the CPU)",
        ),
        # A lower share would leave no room for a single answer.
        (
            "7b",
            f"gpu_memory_gib=40.5 {ACTOR}.ppo_max_token_len_per_gpu=4096",
            f": set {FSDP}.optimizer_offload=true",
        ),
        ("7b", "gpu_memory_gib=8", "no setting is enough: take larger GPUs, or many more"),
    ],
)
def test_a_run_that_does_not_fit_is_told_what_to_change(model, overrides, fix, of):
    (warning,) = plan_memory(of(model, overrides)).warnings
    assert warning.startswith("memory: on each GPU more GiB are expected than the ")
    assert fix in warning


@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_the_change_that_is_named_makes_it_fit(model, of):
    config = of(model, f"{SHARE}=0.97")
    (warning,) = plan_memory(config).warnings
    lowered = re.search(rf"lower {re.escape(SHARE)} from 0.97 to ([\d.]+)$", warning)[1]
    assert plan_memory(of(model, f"{SHARE}={lowered}")).warnings == ()


def test_a_share_without_room_for_a_response_is_named(of):
    (warning,) = plan_memory(of("7b", f"{SHARE}=0.2")).warnings
    assert warning == (
        f"memory: {SHARE} 0.2 leaves vLLM room for 0 tokens of keys and values beside its "
        "weights, and one row may have 4,024: raise it, or "
        f"{ROLLOUT}.tensor_model_parallel_size"
    )


def test_main_memory_is_compared_where_the_run_is_to_be(of, monkeypatch):
    assert plan_on(of("7b"), 80, monkeypatch).warnings == ()
    monkeypatch.setattr(machine, "own_memory", lambda: 16 * GIB)
    (warning,) = plan_on(of("7b"), 80, monkeypatch).warnings
    assert "main memory: " in warning
    assert "this machine has 16.0: lower" in warning
    # On a cluster the machines are others.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert plan_memory(of("7b")).warnings == ()


def test_the_plan_shows_it_on_gpus_only(existing):
    made = check_config(composed("demo", existing))
    assert not any(line.startswith(("memory", "disk")) for line in made.lines)
    lines = check_config(composed("demo", [*existing, *FOUR_GPUS.split()])).lines
    after = [line.split(" ")[0] for line in lines]
    assert after.index("memory") == after.index("devices") + 1


def test_the_plan_has_its_warnings(existing, monkeypatch):
    told = MemoryPlan(("memory     much",), ("memory: too much",))
    monkeypatch.setattr(plan, "plan_memory", lambda config: told)
    made = check_config(composed("demo", existing))
    assert told.lines[0] in made.lines
    assert made.warnings == told.warnings


def test_a_run_may_go_on_with_gpus_of_another_size():
    then, now = (composed("math", [f"gpu_memory_gib={gib}"]) for gib in (40, 80))
    assert compare(then, now, now).differences == ()


def test_a_gpus_memory_means_nothing_on_a_cpu():
    made = plan_memory(composed("demo", ["gpu_memory_gib=80"]))
    assert made.lines == ()
    assert made.warnings == (
        "gpu_memory_gib has no effect: it belongs to GPUs, this is device=cpu",
    )


@pytest.mark.parametrize("value", ["0", "-80", "eighty", "true"])
def test_a_memory_that_is_no_number_is_refused(value, existing):
    (line,) = refusals(existing, f"{FOUR_GPUS} gpu_memory_gib={value}")
    assert line.startswith("gpu_memory_gib: ")
    assert line.endswith("give a number above 0, or null")


def test_a_moment_is_named_as_in_the_lines(of):
    assert STEP in plan_memory(of("7b")).lines[1]
