"""Checkpoints of a run: found, merged to a Hugging Face folder, or refused."""

import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from data_prep.tiny_model import save, tiny_qwen2
from recipe.holderpo import export
from recipe.holderpo.evaluate.weights import locate_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A run's folder with one FSDP rank's weights, none of them as at the start."""
    run_folder = tmp_path_factory.mktemp("run")
    checkpoints = run_folder / "checkpoints"
    actor = checkpoints / "global_step_12" / "actor"
    trained = tiny_qwen2(max_tokens=64)
    save(actor / "huggingface", trained)
    (actor / "huggingface" / "model.safetensors").unlink()
    torch.save(trained.state_dict(), actor / "model_world_size_1_rank_0.pt")
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    (checkpoints / export.TRACKER).write_text("12")
    return run_folder


@pytest.mark.parametrize(
    "part", ["", "checkpoints", "checkpoints/global_step_12", "checkpoints/global_step_12/actor"]
)
def test_a_run_its_checkpoints_and_a_step_lead_to_the_actor(checkpoint, part):
    actor = checkpoint / "checkpoints" / "global_step_12" / "actor"
    assert export.find_actor(checkpoint / part) == actor
    found = locate_model(str(checkpoint / part), None)
    assert (found.path, found.actor) == (str(actor / "huggingface"), actor)


def test_exporting_merges_the_shards(checkpoint, tmp_path, capsys, merger):
    out = tmp_path / "exported"
    assert export.main([str(checkpoint), str(out)]) == 0
    actor = export.find_actor(checkpoint)
    trained = torch.load(actor / "model_world_size_1_rank_0.pt")
    exported = load_file(out / "model.safetensors")
    # The output layer is tied to the embedding.
    assert set(trained) - set(exported) == {"lm_head.weight"}
    for name, weight in exported.items():
        assert torch.equal(weight, trained[name].bfloat16()), name
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= {
        file.name for file in out.iterdir()
    }
    assert locate_model(str(out), None).actor is None
    assert export.main([str(checkpoint), str(out)]) == 2
    assert "has a model already" in capsys.readouterr().err


def test_all_but_the_weights_is_as_the_checkpoint_keeps_it(checkpoint, tmp_path, merger):
    actor = export.find_actor(checkpoint)
    kept = actor / "huggingface"
    given = {
        "generation_config.json": '{"eos_token_id": [3, 2], "own": 1}',
        "chat_template.jinja": "{{ messages }}",
        "modeling_own.py": "# code",
    }
    before = {name: (kept / name).read_text() for name in given if (kept / name).exists()}
    for name, text in given.items():
        (kept / name).write_text(text)
    try:
        export.export(actor, tmp_path / "out")
    finally:
        for name in given:
            (kept / name).unlink()
        for name, text in before.items():
            (kept / name).write_text(text)
    for name, text in given.items():
        assert (tmp_path / "out" / name).read_text() == text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generation_config.json", "{}"),
        ("chat_template.jinja", "{{ messages }}"),
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}'),
    ],
)
def test_a_checkpoint_that_lost_a_file_of_its_model_is_refused(name, content, tmp_path):
    model, run_folder = tmp_path / "model", tmp_path / "run"
    actor = run_folder / "checkpoints" / "global_step_3" / "actor"
    (actor / "huggingface").mkdir(parents=True)
    model.mkdir()
    (model / name).write_text(content)
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    for needed in ("model_world_size_1_rank_0.pt", "huggingface/config.json"):
        (actor / needed).write_text("{}")
    (no_tokenizer,) = export.checkpoint_problems(actor)
    assert no_tokenizer.startswith(f"{actor}/huggingface: no tokenizer (tokenizer.json, ")
    (actor / "huggingface" / "tokenizer.json").write_text("{}")
    assert export.checkpoint_problems(actor) == []
    (run_folder / "config.yaml").write_text(f"actor_rollout_ref: {{model: {{path: {model}}}}}")
    assert export.checkpoint_problems(actor) == [
        f"{actor}/huggingface/{name}: lost; copy it there from {model}"
    ]
    (actor / "huggingface" / name).write_text(content)
    assert export.checkpoint_problems(actor) == []
    (run_folder / "config.yaml").write_text("actor_rollout_ref: {model: {path: not/there/at/all}}")
    assert export.checkpoint_problems(actor) == []


def test_weights_older_than_the_shards_are_exported_again(tmp_path):
    actor = tmp_path / "actor"
    (actor / "huggingface").mkdir(parents=True)
    for name in ("model_world_size_1_rank_0.pt", "huggingface/model.safetensors"):
        (actor / name).write_text("")
    assert export.is_exported(actor)
    os.utime(actor / "huggingface" / "model.safetensors", (1, 1))
    assert not export.is_exported(actor)


def test_incomplete_checkpoints_are_refused(tmp_path):
    run_folder = tmp_path / "run"
    actor = run_folder / "checkpoints" / "global_step_3" / "actor"
    actor.mkdir(parents=True)
    (run_folder / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="name one: global_step_3"):
        locate_model(str(run_folder), None)
    (run_folder / "checkpoints" / export.TRACKER).write_text("3")
    with pytest.raises(ValueError, match=r"has no fsdp_config\.json"):
        locate_model(str(run_folder), None)
    (actor / "fsdp_config.json").write_text('{"world_size": 2}')
    (actor / "model_world_size_2_rank_0.pt").write_text("")
    with pytest.raises(ValueError, match=r"rank_1\.pt: not there.*huggingface/config\.json"):
        locate_model(str(run_folder), None)
    with pytest.raises(ValueError, match=r"no config\.json with weights and no checkpoint"):
        locate_model(str(tmp_path), None)


def test_a_failed_merge_leaves_nothing_behind(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stdout="cannot merge")
    monkeypatch.setattr(export.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(export.ExportError, match="cannot merge"):
        export.export(tmp_path / "actor", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
