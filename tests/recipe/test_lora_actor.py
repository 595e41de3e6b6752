"""Adapters in verl's own FSDP actor: trained, left out for the reference, sent, saved, exported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from recipe.holderpo import export
from tests.recipe.sharing import made_once

pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parents[2]
# A rounded weight is at most half of this share of itself away.
BFLOAT16 = 2**-7


FUSED = [f"actor_rollout_ref.{part}.use_fused_kernels=true" for part in ("model", "actor")]
RUNS = {"one rank": (1, []), "two ranks": (2, []), "fused log-probabilities": (1, FUSED)}


@pytest.fixture(scope="module", params=RUNS)
def actor(request, tmp_path_factory):
    """Folder with its checkpoint, what it answers, and what it sends."""
    name = f"lora_actor_{request.param.replace(' ', '_')}"
    return made_once(tmp_path_factory, name, lambda folder: run(folder, *RUNS[request.param]))


def run(folder, size, overrides):
    module = "tests.recipe.lora_actor"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(size), str(rank), *overrides],
            env={
                **{"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"},
                **{"VERL_PLATFORM": "cpu", "DIST_INIT_METHOD": f"file://{folder}/store"},
            },
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        shown = [rank.communicate(timeout=200) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size, shown[0][1][-4000:]
    return folder, json.loads(shown[0][0].splitlines()[-1])


def sent_by(folder):
    return torch.load(folder / "found.pt", weights_only=False)


def exported(folder, tmp_path, *arguments):
    assert export.main([str(folder / "actor"), str(tmp_path / "out"), *arguments]) == 0
    return tmp_path / "out"


def test_an_update_moves_the_adapters_alone(actor):
    _, found = actor
    if "trained" not in found:
        pytest.skip("one rank is enough")
    names = found["trained"]
    assert all("lora_" in name for name in names)
    assert len(names) == 2 * 7, "two of each of the layer's seven matrices"


def test_with_weights_kept_gathered_a_reference_that_comes_first_stops_the_training(actor):
    """Why checks/adapters.py refuses it: after the first update, which moves B, nothing moves."""
    _, found = actor
    if "trained" not in found:
        pytest.skip("one rank is enough")
    assert not any("lora_A" in name for name in found["trained after the reference"])


def test_the_reference_is_the_model_beneath_the_adapters(actor):
    _, found = actor
    assert found["moved"] > 0.1, "adapters that do nothing would prove little"
    assert found["reference"] == found["after the reference"] == 0.0


def test_sending_leaves_the_weights_as_they_are(actor):
    _, found = actor
    assert found["changed by sending"] == []


def test_a_checkpoint_brings_the_adapters_back(actor):
    _, found = actor
    assert found["before resuming"] > 0.1
    assert found["resumed"] == 0.0


def test_merged_weights_reach_vllm_and_the_export_alike(actor, tmp_path):
    folder, _ = actor
    sent, _ = sent_by(folder)["merged"]
    out = AutoModelForCausalLM.from_pretrained(exported(folder, tmp_path)).state_dict()
    beneath = AutoModelForCausalLM.from_pretrained(folder / "model_0").state_dict()
    assert {"lm_head.weight"} >= set(out) - set(sent), "tied to the embedding"
    for name, weight in sent.items():
        torch.testing.assert_close(out[name].float(), weight.float(), rtol=BFLOAT16, atol=1e-4)
        apart = not torch.allclose(beneath[name].float(), weight.float(), rtol=0.1, atol=1e-2)
        assert apart == ("_proj.weight" in name), name


def test_adapters_by_themselves_reach_vllm_and_the_export_alike(actor, tmp_path):
    folder, _ = actor
    found = sent_by(folder)
    beneath, adapters, settings = found["apart"]
    assert (settings["r"], settings["lora_alpha"]) == (3, 16)
    assert not any("lora_" in name for name in beneath)
    base = AutoModelForCausalLM.from_pretrained(folder / "model_0")
    # verl's name of a weight that vLLM has an adapter for.
    plain = {name.replace(".base_layer.", "."): weight for name, weight in beneath.items()}
    assert all(torch.equal(plain[name], weight) for name, weight in base.state_dict().items())
    again = PeftModel.from_pretrained(base, exported(folder, tmp_path, "--adapter"))
    theirs = {
        name.replace(".default.", "."): weight
        for name, weight in again.named_parameters()
        if "lora_" in name
    }
    assert theirs.keys() == adapters.keys()
    assert all(torch.equal(theirs[name], adapters[name]) for name in adapters)
    ends = found["offsets"][1:-1]
    rows = zip(
        found["input_ids"].tensor_split(ends), found["policy"].tensor_split(ends), strict=True
    )
    for tokens, log_probs in rows:
        logits = again(tokens[None]).logits[0, :-1]
        # At a row's end there is no next token.
        expected = logits.log_softmax(-1).gather(-1, tokens[1:, None])[:, 0]
        torch.testing.assert_close(log_probs[:-1], expected, rtol=0, atol=1e-5)
