"""A checkpoint with adapters becomes the model that was trained."""

import json
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from data_prep.tiny_model import save, tiny_qwen2
from recipe.holderpo import export, lora_merger


@pytest.fixture
def checkpoint(tmp_path):
    """A PEFT model with adapters that are not 0, and its checkpoint of one rank."""
    model = tiny_qwen2(max_tokens=64)
    actor = tmp_path / "actor"
    save(actor / "huggingface", model)
    (actor / "huggingface" / "model.safetensors").unlink()
    torch.manual_seed(0)
    trained = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=24, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    torch.save(trained.state_dict(), actor / "model_world_size_1_rank_0.pt")
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    meta = {"r": 4, "lora_alpha": 24, "task_type": "CAUSAL_LM"}
    (actor / export.LORA_META).write_text(json.dumps(meta))
    return trained, actor


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


def test_the_adapter_alone_on_the_weights_beneath_it_is_the_trained_model(
    checkpoint, tmp_path, monkeypatch
):
    trained, actor = checkpoint
    tokens = torch.arange(3, 12)[None]
    expected = trained(tokens).logits
    assert run(monkeypatch, actor, tmp_path / "adapter", "--adapter") == 0
    again = PeftModel.from_pretrained(trained.unload(), tmp_path / "adapter")
    torch.testing.assert_close(again(tokens).logits, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("meta", [None, "{}", '{"r": 4}', '{"r": 4, "lora_alpha": 0}', "["])
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


def test_adapters_saved_without_the_weights_beneath_are_told(checkpoint, tmp_path, capsys):
    _, actor = checkpoint
    shard = actor / "model_world_size_1_rank_0.pt"
    torch.save({n: w for n, w in torch.load(shard).items() if "lora_" in n}, shard)
    assert export.main([str(actor), str(tmp_path / "whole")]) == 1
    assert "has its adapters alone (save_lora_only): take --adapter" in capsys.readouterr().err
