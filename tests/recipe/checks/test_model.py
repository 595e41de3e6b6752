"""What the model's own files say against the settings."""

import json

import pytest

from recipe.holderpo.checks.model import model_problems
from tests.recipe.checks.checking import ACTOR, MODEL, ROLLOUT
from tests.recipe.composing import composed

HEADS = {"num_attention_heads": 12, "num_key_value_heads": 2}
YARN = {"max_position_embeddings": 32, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}


def lines(folder, facts, overrides="", tokenizer=None):
    (folder / "config.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = composed("demo", [f"{MODEL}.path={folder}", *overrides.split()])
    return list(model_problems(config))


@pytest.mark.parametrize(
    ("facts", "overrides", "expected"),
    [
        ({"text_config": {"max_position_embeddings": 40}}, "", "has 40 positions; lower"),
        (YARN, "", "has 32 positions (verl 0.9.1 does not count its rope scaling); lower"),
        (
            HEADS,
            f"{ROLLOUT}.tensor_model_parallel_size=8",
            f"{ROLLOUT}.tensor_model_parallel_size: 8; ",
        ),
        (
            HEADS,
            f"{ACTOR}.ulysses_sequence_parallel_size=5",
            f"{ACTOR}.ulysses_sequence_parallel_size: 5; ",
        ),
        # 12 heads divide by 3, but neither do the 2 of keys by 3 nor 3 by 2.
        (HEADS, f"{ROLLOUT}.tensor_model_parallel_size=3", "12 attention heads and 2 of keys"),
        ("{not json", "", "its config.json is damaged"),
        ("[1]", "", "its config.json is damaged (no object)"),
    ],
)
def test_what_does_not_fit_the_model_is_named(facts, overrides, expected, tmp_path):
    (line,) = lines(tmp_path, facts, overrides)
    assert expected in line


@pytest.mark.parametrize(
    ("facts", "overrides"),
    [
        ({"text_config": {"max_position_embeddings": 64}}, ""),
        (HEADS, f"{ROLLOUT}.tensor_model_parallel_size=4"),
        (HEADS, f"{ACTOR}.ulysses_sequence_parallel_size=2"),
        ({"num_attention_heads": 4}, f"{ROLLOUT}.tensor_model_parallel_size=2"),
        ({}, f"{ROLLOUT}.tensor_model_parallel_size=7"),
    ],
)
def test_what_fits_or_is_not_known_is_not(facts, overrides, tmp_path):
    assert lines(tmp_path, facts, overrides) == []


@pytest.mark.parametrize(("size", "fits"), [(5, True), (4, False), (3, False)])
def test_a_tokenizer_of_more_tokens_than_embeddings_is_refused(size, fits, tmp_path):
    tokenizer = {"model": {"vocab": {"a": 0, "b": 3}}, "added_tokens": [{"id": 4, "content": "c"}]}
    found = lines(tmp_path, {"vocab_size": size}, tokenizer=tokenizer)
    assert [f"embeddings for {size} tokens, its tokenizer knows token 4" in f for f in found] == (
        [] if fits else [True]
    )


@pytest.mark.parametrize("path", ["/no_model", "a/b/c", "hdfs://models/m"])
def test_a_path_that_is_no_name_of_the_hub_is_left_to_others(path):
    assert list(model_problems(composed("demo", [f"{MODEL}.path={path}"]))) == []
