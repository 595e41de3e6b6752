"""Responses are drawn from the model, and their log-probabilities are the model's."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from holderpo.lab.sampler import log_probs_of, sample
from tests.holderpo.lab.copying import END, Copying


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of random weights, so that responses have all lengths."""
    folder = Copying().ensure_model(tmp_path_factory.mktemp("models"), 0)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, initializer_range=0.3)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def prompts():
    return Copying().draw("train", 400, np.random.default_rng(0)).prompts


def drawn(model, prompts, seed=0, max_tokens=5):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return sample(model, prompts, max_tokens=max_tokens, end_id=END, generator=generator)


def test_log_probabilities_are_those_of_a_pass_over_the_whole(model, prompts):
    responses = drawn(model, prompts)
    again = log_probs_of(model, prompts, responses.tokens).detach()
    torch.testing.assert_close(
        responses.log_prob, torch.where(responses.mask, again, 0), rtol=0, atol=1e-5
    )


def test_responses_end_with_their_end_token(model, prompts):
    responses = drawn(model, prompts)
    lengths = responses.mask.sum(-1)
    assert lengths.min() < lengths.max()
    for tokens, length, cut in zip(responses.tokens, lengths, responses.truncated, strict=True):
        kept = tokens[:length].tolist()
        assert END not in kept[:-1]
        assert (kept[-1] == END) != cut.item()
        assert set(tokens[length:].tolist()) <= {END}
    assert responses.truncated.any()


def test_they_are_as_frequent_as_the_model_says(model, prompts):
    """Of one prompt, the first token; six standard deviations."""
    many = prompts[:1].expand(4000, -1)
    first = drawn(model, many, max_tokens=1).tokens[:, 0]
    share = torch.bincount(first, minlength=10) / len(many)
    with torch.no_grad():
        expected = model(input_ids=prompts[:1]).logits[0, -1].softmax(-1)
    assert (share - expected).abs().max() < 6 * (0.25 / len(many)) ** 0.5
    entropy = -(expected * expected.log()).sum().item()
    assert drawn(model, many, max_tokens=1).entropy == pytest.approx(entropy, abs=1e-5)


def test_a_seed_decides_and_greedy_answers_need_none(model, prompts):
    assert (drawn(model, prompts, 1).tokens == drawn(model, prompts, 1).tokens).all()
    assert (drawn(model, prompts, 1).tokens[:, 0] != drawn(model, prompts, 2).tokens[:, 0]).any()
    with torch.no_grad():
        likeliest = model(input_ids=prompts).logits[:, -1].argmax(-1)
    assert (drawn(model, prompts, None).tokens[:, 0] == likeliest).all()
