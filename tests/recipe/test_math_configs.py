"""configs/math*: each run has the paper's values, passes the checks, and rolls out."""

import asyncio
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.experimental.agent_loop import agent_loop
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.models.transformers.monkey_patch import patch_forward_with_backends
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.fsdp_utils import apply_fsdp2
from verl.workers.rollout.replica import TokenOutput

from data_prep.parquet import write_manifest, write_rows
from data_prep.tiny_model import ascii_tokenizer
from holderpo.benchmarks.panels import SETS as WHOLE_SETS
from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, TEMPLATES, render
from recipe.holderpo.checks.plan import rollouts_per_step, updates_per_step
from recipe.holderpo.checks.settings import ConfigError, check_config
from recipe.holderpo.main import config_dir
from tests.recipe.composing import composed
from tests.recipe.data_files import NUM_TRAIN, rows, tokenizer

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
P, C = "the paper", "the authors' code"
OAT = "defaults of the authors' library, which their launcher leaves"

# The paper's setting for mathematics, each value with where it is stated.
PAPER = {
    "data.train_batch_size": (128, P),
    f"{ROLLOUT}.n": (8, P),
    # In prompts: 8 updates of 16 x 8 responses.
    f"{ACTOR}.ppo_mini_batch_size": (16, P),
    f"{ACTOR}.ppo_epochs": (1, P),
    "data.max_response_length": (3000, P),
    "trainer.n_gpus_per_node": (4, P),
    "trainer.nnodes": (1, P),
    "p.shape": ("linear", P),
    "p.start": (2.0, P),
    "p.end": (-2.0, P),
    f"{ACTOR}.policy_loss.loss_mode": ("holder", P),
    f"{ACTOR}.policy_loss.clip_level": ("sequence", P),
    f"{ACTOR}.policy_loss.clip_log_ratio": (None, P),
    f"{ACTOR}.policy_loss.dual_clip": (None, P),
    f"{ACTOR}.loss_agg_mode": ("seq-mean-token-mean", P),
    "advantage": (
        {
            "normalize_by_std": True,
            "transforms": [],
            # A response is a row: the settings of turns stay where they change nothing.
            "unit": "episode",
            "row_weight": "turn",
            "step_weight": 0.0,
            "step_discount": 0.95,
        },
        P,
    ),
    f"{ROLLOUT}.val_kwargs.n": (1, P),
    f"{ROLLOUT}.val_kwargs.do_sample": (False, P),
    f"{ROLLOUT}.val_kwargs.temperature": (0, P),
    "data.max_prompt_length": (1024, C),
    f"{ROLLOUT}.temperature": (1.0, C),
    f"{ROLLOUT}.top_p": (1.0, C),
    f"{ROLLOUT}.top_k": (-1, C),
    f"{ACTOR}.shuffle": (True, C),
    f"{ACTOR}.optim.lr": (1e-6, C),
    f"{ACTOR}.optim.lr_scheduler_type": ("constant", C),
    f"{ACTOR}.clip_ratio_low": (0.2, C),
    f"{ACTOR}.clip_ratio_high": (0.2, C),
    f"{ACTOR}.use_kl_loss": (False, C),
    f"{ACTOR}.entropy_coeff": (0.0, C),
    "algorithm.use_kl_in_reward": (False, C),
    "reward.reward_kwargs.truncated": ("zero", C),
    "trainer.total_training_steps": (500, C),
    "trainer.save_freq": (100, C),
    "p.steps": ("whole_run", C),
    f"{ACTOR}.optim.betas": ([0.9, 0.95], OAT),
    f"{ACTOR}.optim.weight_decay": (0.0, OAT),
    f"{ACTOR}.optim.clip_grad": (1.0, OAT),
}
# The paper's models: whether the output layer is the embedding, and positions, of its config.json.
MODELS = {
    "Qwen/Qwen2.5-Math-1.5B": (True, 4096),
    "Qwen/Qwen2.5-Math-7B": (False, 4096),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (False, 131072),
    "Qwen/Qwen3-4B-Base": (True, 32768),
    "Qwen/Qwen3-8B-Base": (False, 32768),
}
RUNS = sorted({path.stem for path in config_dir().glob("math_*.yaml")} - {"math_smoke"})
SETS = ("math_level3to5", "aime24", "amc", "math500", "minerva", "olympiadbench")


def write_set(folder, name, template="qwen_math"):
    split = "train" if name.endswith("math_level3to5") else "test"
    text = render("1+1?", template) if template in TEMPLATES else "1+1?"
    source = name.rpartition("/")[2]
    written = rows(
        WHOLE_SETS.get(source, NUM_TRAIN),
        split,
        data_source=source,
        prompt=text,
        answer=["2"],
        template=template,
    )
    write_rows(folder / "data" / name / f"{split}.parquet", written)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A working directory with the paper's sets, one problem many times."""
    for name in SETS:
        write_set(tmp_path, name)
    for name in ("math_level3to5", "math500"):
        write_set(tmp_path, f"math_smoke/{name}")
    tokenizer().save_pretrained(tmp_path / "data/math_smoke/math_level3to5/tiny_model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def not_counted(config):
    """What is said where the hub's model is not on this machine."""
    return (
        "data.max_prompt_length: 1024; prompts are not counted: the tokenizer of "
        f"{config.actor_rollout_ref.model.path} is not on this machine"
    )


def problems(config):
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    return caught.value.problems


def test_every_model_of_the_paper_has_one_run():
    models = [composed(name).actor_rollout_ref.model.path for name in RUNS]
    assert sorted(models) == sorted(MODELS)


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_the_papers_values_and_passes_the_checks(name, prepared):
    config = composed(name)
    values = {key: OmegaConf.select(config, key, throw_on_missing=True) for key in PAPER}
    plain = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for key, value in values.items()
    }
    assert plain == {key: value for key, (value, _) in PAPER.items()}
    output_is_embedding, positions = MODELS[config.actor_rollout_ref.model.path]
    # verl's fused log-probabilities fail under FSDP2 elsewhere, as the last test shows.
    assert config.actor_rollout_ref.model.use_fused_kernels == output_is_embedding
    assert config.data.max_prompt_length + config.data.max_response_length <= positions
    # Or two runs would share a folder.
    assert config.trainer.experiment_name == name

    plan = check_config(config)
    assert updates_per_step(config) == 8
    assert rollouts_per_step(config) == 1024
    assert plan.warnings == (not_counted(config),)
    assert "p          +2 to -2 over 500 rollout rounds, at its end from round 500 on" in plan.lines
    assert "devices    1 x 4 cuda" in plan.lines


def test_what_they_have_in_common_is_no_run(prepared):
    (line,) = problems(composed("math"))
    assert line.startswith("actor_rollout_ref.model.path: ")


def test_the_small_run_keeps_what_does_not_need_a_gpu(prepared):
    small, real = composed("math_smoke"), composed("math_qwen25_math_1_5b")
    assert check_config(small).warnings == (
        "data.val_files: math500 has 4 problems here, not the benchmark's number; metrics call it "
        "math500_4_of_500",
    )
    same = [
        "p",
        "advantage",
        "algorithm",
        "reward.custom_reward_function",
        "reward.reward_manager",
        "reward.reward_kwargs",
        "actor_rollout_ref.model.custom_chat_template",
        "actor_rollout_ref.model.use_fused_kernels",
        f"{ACTOR}.policy_loss",
        f"{ACTOR}.optim",
        f"{ACTOR}.use_dynamic_bsz",
        f"{ACTOR}.shuffle",
        f"{ROLLOUT}.val_kwargs",
        "data.filter_overlong_prompts",
    ]
    for key in same:
        assert OmegaConf.select(small, key) == OmegaConf.select(real, key), key


@pytest.mark.parametrize(
    "overrides",
    [
        ["+method=grpo"],
        ["+method=gspo"],
        ["+method=gmpo"],
        ["+method=dapo"],
        ["+method=dapo_overlong", "reward.reward_kwargs.overlong_buffer_cfg.len=500"],
        ["+method=sign_matched"],
        ["+method=static", "p.value=-1"],
        ["p=ess"],
        ["p=constant", "p.value=3"],
        # A GPU of any size has no size of micro-batches of its own.
        ["device=cuda", f"{ACTOR}.use_dynamic_bsz=true"],
        ["device=cuda_8x80gb"],
        ["device=cuda_2x80gb"],
        [f"{ACTOR}.ulysses_sequence_parallel_size=2", f"{ACTOR}.ppo_max_token_len_per_gpu=2012"],
        ["seed=3"],
        ["reward.reward_kwargs.truncated=mask"],
    ],
)
def test_other_methods_rules_and_machines_go_with_it(overrides, prepared):
    assert check_config(composed("math_qwen25_math_7b", overrides)).lines


def test_the_punishment_of_long_answers_has_its_own_reward_manager():
    """Not the one that the other runs on mathematics import."""
    manager = composed("math_qwen25_math_7b", ["+method=dapo_overlong"]).reward.reward_manager
    assert (manager.source, manager.name) == ("register", "dapo")


def test_prompts_are_handed_over_as_they_are():
    raw, chat = composed("math_smoke"), composed("math_smoke", ["prompt=chat"])
    assert raw.actor_rollout_ref.model.custom_chat_template == RAW_CHAT_TEMPLATE
    assert chat.actor_rollout_ref.model.custom_chat_template is None


def test_whole_prompts_are_not_wrapped_again(prepared):
    found = problems(composed("math_qwen25_math_7b", ["prompt=chat"]))
    assert len(found) == len(SETS)
    assert found[0] == (
        "data.train_files: data/math_level3to5/train.parquet has whole prompts (template "
        "'qwen_math'), which the model's chat template would wrap again; choose prompt=raw "
        "(actor_rollout_ref.model.custom_chat_template), or prepare the data with --template chat"
    )


def test_bare_questions_need_the_models_template(prepared):
    for name in SETS:
        write_set(prepared, name, template="chat")
    found = problems(composed("math_qwen25_math_7b"))
    assert len(found) == len(SETS)
    assert "has bare questions (template 'chat')" in found[1]
    assert "choose prompt=chat" in found[1]
    config = composed("math_qwen25_math_7b", ["prompt=chat"])
    assert check_config(config).warnings == (not_counted(config),)


def test_other_prompts_in_validation_and_unknown_ones(prepared):
    write_set(prepared, "amc", template="r1")
    first, second, _ = check_config(composed("math_qwen25_math_7b")).warnings
    assert first.startswith("template 'r1' ends responses at </answer>, verl does not")
    assert second == (
        "the prompts' templates differ: data.train_files qwen_math, data.val_files qwen_math, "
        "data.val_files r1"
    )
    write_set(prepared, "amc", template="mine")
    assert "unknown template 'mine'" in problems(composed("math_qwen25_math_7b"))[0]
    write_set(prepared, "amc", template=None)
    config = composed("math_qwen25_math_7b")
    assert check_config(config).warnings == (not_counted(config),)


def test_the_rows_count_where_the_manifest_is_older(prepared):
    """As after a preparation that was cut off before its end."""
    path = prepared / "data/math500/test.parquet"
    write_manifest(path.parent, [], template="qwen_math")
    write_set(prepared, "math500", template="chat")
    (problem,) = problems(composed("math_qwen25_math_7b"))
    assert problem.startswith("data.val_files: data/math500/test.parquet has bare questions")


def any_tokenizer_loop(name, tokenizer, answer):
    """A rollout worker's agent loop, made as verl makes it, with a server that always answers."""

    async def generate(**asked):
        served.append(asked["prompt_ids"])
        return TokenOutput(token_ids=answer, log_probs=[-1.0] * len(answer))

    async def run(messages):
        loop = instantiate(
            config=agent_loop._agent_loop_registry[name],
            trainer_config=DictConfigWrap(config=config),
            server_manager=SimpleNamespace(generate=generate),
            tokenizer=tokenizer,
            processor=None,
            hf_model_type="qwen2",
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(config.data),
            tools=ToolListWrap([]),
        )
        return await loop.run({}, raw_prompt=messages)

    served = []
    config = composed("math_r1_distill_qwen_7b")
    return run, served


def test_a_qwen_without_its_turn_token_can_be_rolled_out():
    """verl's own loop cannot: when this fails, AnyTokenizerLoop is no longer needed."""
    tokenizer = ascii_tokenizer()
    # DeepSeek's distilled models have no unknown token that stands for what they lack.
    tokenizer.unk_token = None
    tokenizer.convert_tokens_to_ids = lambda token: None
    tokenizer.chat_template = composed(
        "math_r1_distill_qwen_7b"
    ).actor_rollout_ref.model.custom_chat_template
    prompt = render("What is $1+1$?", "qwen_math")
    messages = [{"role": "user", "content": prompt}]
    answer = [ord(character) for character in "\\boxed{2}"] + [1]

    run, _ = any_tokenizer_loop("single_turn_agent", tokenizer, answer)
    with pytest.raises(Exception, match="does not define required token"):
        asyncio.run(run(messages))

    name = composed("math_r1_distill_qwen_7b").actor_rollout_ref.rollout.agent.default_agent_loop
    run, served = any_tokenizer_loop(name, tokenizer, answer)
    output = asyncio.run(run(messages))
    # The prompt is the prepared text, character by character, and nothing else.
    assert served == [[ord(character) for character in prompt]]
    assert output.prompt_ids == served[0]
    assert output.response_ids == answer
    assert output.response_mask == [1] * len(answer)
    assert output.response_logprobs == [-1.0] * len(answer)


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    """A group of this process alone."""
    store = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def log_probs_and_gradient(mesh, *, tied, fused):
    """Of a small Qwen2 under FSDP2, wrapped and patched by verl's own functions."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
            attn_implementation="sdpa",
        )
    )
    stock = Qwen2ForCausalLM.forward
    options = composed("math_qwen25_math_1_5b").actor_rollout_ref.model.fused_kernel_options
    patch_forward_with_backends(
        model, use_fused_kernels=fused, fused_kernels_backend=options.impl_backend
    )
    try:
        policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32)
        apply_fsdp2(model, {"mesh": mesh, "mp_policy": policy, "reshard_after_forward": True}, {})
        tokens = torch.arange(600).remainder(61)[None]
        labels = tokens.roll(-1, 1)
        arguments = {"input_ids": tokens, "use_cache": False}
        if fused:
            output = model(**arguments, temperature=1.0, return_dict=True, shift_labels=labels)
            log_probs = output.log_probs
        else:
            distribution = model(**arguments).logits.log_softmax(-1)
            log_probs = distribution.gather(-1, labels[..., None]).squeeze(-1)
        log_probs.square().sum().backward()
    finally:
        Qwen2ForCausalLM.forward = stock
    gradients = {name: p.grad.full_tensor() for name, p in model.named_parameters()}
    return log_probs.detach(), gradients


def test_fused_log_probs_are_the_same_where_the_output_layer_is_the_embedding(process_group):
    fused, plain = (
        log_probs_and_gradient(process_group, tied=True, fused=fused) for fused in (True, False)
    )
    torch.testing.assert_close(fused[0], plain[0], rtol=1e-5, atol=1e-5)
    for name, gradient in plain[1].items():
        torch.testing.assert_close(fused[1][name], gradient, rtol=1e-4, atol=1e-3)


def test_fused_log_probs_fail_where_the_output_layer_is_its_own(process_group):
    """When this fails, verl gathers it: the other models can have use_fused_kernels too."""
    with pytest.raises(RuntimeError, match=r"mixed torch\.Tensor and DTensor"):
        log_probs_and_gradient(process_group, tied=False, fused=True)
