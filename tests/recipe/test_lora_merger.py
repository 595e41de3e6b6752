"""A checkpoint with adapters becomes the model that was trained."""

import json
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from data_prep.tiny_model import save, tiny_qwen2
from recipe.holderpo import export, lora_merger
from recipe.holderpo.evaluate.weights import locate_model

SHARD = "model_world_size_1_rank_0.pt"


def write_checkpoint(run_folder, **settings):
    """A PEFT model with adapters that are not 0, and its checkpoint of one rank in a run."""
    model = tiny_qwen2(max_tokens=64)
    save(run_folder / "base", model)
    actor = run_folder / "checkpoints" / "global_step_2" / "actor"
    save(actor / "huggingface", model)
    (actor / "huggingface" / "model.safetensors").unlink()
    (run_folder / "config.yaml").write_text(
        f"actor_rollout_ref: {{model: {{path: {run_folder}/base}}}}"
    )
    torch.manual_seed(0)
    settings = {"target_modules": "all-linear"} | settings
    trained = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=24, task_type="CAUSAL_LM", **settings)
    )
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    torch.save(trained.state_dict(), actor / SHARD)
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    meta = {"r": 4, "lora_alpha": 24, "task_type": "CAUSAL_LM"}
    (actor / export.LORA_META).write_text(json.dumps(meta))
    return trained, actor


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lora_merger", *map(str, arguments)])
    return lora_merger.main()


def test_the_merged_model_is_the_trained_one_rounded_once(checkpoint, tmp_path, monkeypatch):
    trained, actor = checkpoint
    assert run(monkeypatch, actor, tmp_path / "out") == 0
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    beneath = {n: w.clone() for n, w in trained.get_base_model().state_dict().items()}
    expected = trained.merge_and_unload().state_dict()
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert torch.equal(found[name].bfloat16(), weight.bfloat16()), name
    changed = [n for n, w in expected.items() if n in beneath and not torch.equal(w, beneath[n])]
    assert not changed
    projections = [name for name in expected if "_proj.weight" in name]
    assert projections
    for name in projections:
        below = beneath[name.replace(".weight", ".base_layer.weight")]
        assert not torch.equal(found[name].float(), below.bfloat16().float()), name


@pytest.mark.parametrize(
    ("settings", "targets"),
    [
        (
            {},
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        ),
        # The second layer has a module of this name, too, and no adapter on it.
        (
            {"target_modules": r".*layers\.0\..*\.[qv]_proj"},
            {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"},
        ),
        (
            {"target_modules": "all-linear", "exclude_modules": ["gate_proj", "up_proj", "o_proj"]},
            {"q_proj", "k_proj", "v_proj", "down_proj"},
        ),
    ],
)
def test_the_adapter_alone_on_the_weights_beneath_it_is_the_trained_model(
    settings, targets, tmp_path, monkeypatch
):
    trained, actor = write_checkpoint(tmp_path, **settings)
    tokens = torch.arange(3, 12)[None]
    expected = trained(tokens).logits
    assert export.main([str(actor), str(tmp_path / "adapter"), "--adapter"]) == 0
    assert run(monkeypatch, actor, tmp_path / "whole") == 0
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert set(again.peft_config["default"].target_modules) == targets
    assert again.peft_config["default"].base_model_name_or_path == f"{tmp_path}/base"
    torch.testing.assert_close(again(tokens).logits, expected, rtol=1e-6, atol=1e-6)
    merged = again.merge_and_unload().state_dict()
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").state_dict()
    assert all(torch.equal(merged[name].bfloat16(), whole[name].bfloat16()) for name in whole)


def test_the_weights_of_an_output_layer_of_its_own_stay(tmp_path, monkeypatch):
    _, actor = write_checkpoint(tmp_path)
    config = json.loads((actor / "huggingface/config.json").read_text())
    (actor / "huggingface/config.json").write_text(
        json.dumps(config | {"tie_word_embeddings": False})
    )
    weights = torch.load(actor / SHARD)
    weights["base_model.model.lm_head.weight"] = weights["base_model.model.lm_head.weight"] + 1
    torch.save(weights, actor / SHARD)
    assert run(monkeypatch, actor, tmp_path / "out") == 0
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    one = weights["base_model.model.lm_head.weight"].bfloat16()
    assert torch.equal(found["lm_head.weight"].bfloat16(), one)
    assert not torch.equal(found["model.embed_tokens.weight"].bfloat16(), one)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_dora": True}, "lora_magnitude_vector.default.weight: no adapter that verl makes"),
        ({"modules_to_save": ["lm_head"]}, "lm_head.modules_to_save.default.weight: no adapter"),
        ({"target_modules": ["embed_tokens"]}, "lora_embedding_A.default: no adapter that verl m"),
        ({"lora_bias": True}, "lora_B.default.bias: no adapter that verl makes"),
    ],
)
def test_adapters_of_other_kinds_are_not_lost(settings, told, tmp_path, capsys):
    _, actor = write_checkpoint(tmp_path, **settings)
    for arguments in ([], ["--adapter"]):
        assert export.main([str(actor), str(tmp_path / "out"), *arguments]) == 1
        assert told in capsys.readouterr().err
        assert list((tmp_path / "out").iterdir()) == []


def test_a_note_of_another_run_is_told(checkpoint, tmp_path, capsys):
    trained, actor = checkpoint
    meta = {"r": 8, "lora_alpha": 24, "task_type": "CAUSAL_LM"}
    (actor / export.LORA_META).write_text(json.dumps(meta))
    assert export.main([str(actor), str(tmp_path / "out")]) == 1
    assert "lora_train_meta.json has r 8, not that of its adapters" in capsys.readouterr().err
    torch.save(trained.unload().state_dict(), actor / SHARD)
    assert export.main([str(actor), str(tmp_path / "out")]) == 1
    assert "has lora_train_meta.json, but no adapters" in capsys.readouterr().err


NUMBERS = ("0", "-24", "24.5", '"24"', "true", "null", "Infinity")


@pytest.mark.parametrize(
    "meta",
    [None, "{}", '{"r": 4}', "[", *(f'{{"r": 4, "lora_alpha": {number}}}' for number in NUMBERS)],
)
def test_without_alpha_and_rank_nothing_is_written(meta, checkpoint, tmp_path, monkeypatch, capsys):
    _, actor = checkpoint
    (actor / export.LORA_META).unlink()
    if meta is not None:
        (actor / export.LORA_META).write_text(meta)
    assert run(monkeypatch, actor, tmp_path / "out") == 2
    assert export.LORA_META in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_export_writes_the_merged_model_or_the_adapter(checkpoint, tmp_path, capsys):
    _, actor = checkpoint
    assert export.main([str(actor), str(tmp_path / "whole")]) == 0
    assert export.has_weights(tmp_path / "whole")
    assert export.main([str(actor), str(tmp_path / "adapter"), "--adapter"]) == 0
    names = {file.name for file in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["lora_alpha"] == 24
    assert export.main([str(actor), str(tmp_path / "adapter"), "--adapter"]) == 2
    assert "has an adapter already" in capsys.readouterr().err


def test_adapters_whose_alpha_is_lost_are_not_exported_as_the_model_beneath(
    checkpoint, tmp_path, capsys
):
    _, actor = checkpoint
    (actor / export.LORA_META).unlink()
    assert export.main([str(actor), str(tmp_path / "whole")]) == 1
    assert "has adapters, and no lora_train_meta.json" in capsys.readouterr().err
    assert list((tmp_path / "whole").iterdir()) == []
    assert export.main([str(actor), str(tmp_path / "adapter"), "--adapter"]) == 2
    assert "--adapter: " in capsys.readouterr().err


def test_adapters_saved_alone_are_merged_into_the_model_that_was_trained(
    checkpoint, tmp_path, capsys, monkeypatch
):
    _, actor = checkpoint
    assert run(monkeypatch, actor, tmp_path / "expected") == 0
    weights = torch.load(actor / SHARD)
    torch.save({name: one for name, one in weights.items() if "lora_" in name}, actor / SHARD)
    assert export.main([str(actor), str(tmp_path / "whole")]) == 0
    expected, found = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict()
        for name in ("expected", "whole")
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (tmp_path / "base").rename(tmp_path / "moved")
    assert export.main([str(actor), str(tmp_path / "again")]) == 1
    assert "has its adapters alone (save_lora_only)" in capsys.readouterr().err
    assert export.main([str(actor), str(tmp_path / "adapter"), "--adapter"]) == 0


def test_what_verl_writes_of_a_model_with_adapters_is_not_taken_for_the_model(checkpoint):
    trained, actor = checkpoint
    weights = actor / "huggingface" / "model.safetensors"
    save_file({n: w.clone() for n, w in trained.state_dict().items()}, weights)
    assert export.has_weights(actor / "huggingface")
    assert not export.is_exported(actor)
    found = locate_model(str(actor), None)
    assert found.actor == actor
    found.export()
    assert export.is_exported(actor)
