"""Runs of models of which only config.json is there."""

import json

import pytest

from holderpo.memory.sizes import GIB
from recipe.holderpo.checks import machine_memory
from recipe.holderpo.checks.memory import plan_memory
from tests.recipe.checks.checking import ACTOR, MODEL, on_cluster

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


@pytest.fixture
def of(tmp_path):
    """A configuration of a model of which only config.json is there."""

    def make(model, overrides="", name="math"):
        folder = tmp_path / model
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CONFIGS[model]))
        return on_cluster(name, [f"{MODEL}.path={folder}", *overrides.split()])

    return make


def plan_on(config, gib, monkeypatch):
    """The plan where each GPU has so many GiB."""
    monkeypatch.setattr(machine_memory, "gpu_memory_here", lambda count: int(gib * GIB))
    return plan_memory(config)
