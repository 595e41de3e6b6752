"""A model that says one of four things to anything."""

from itertools import pairwise

import torch
from torch import nn

from data_prep.tiny_model import END_ID, VOCABULARY_SIZE, save, tiny_qwen2

# After a character: what follows, and what follows less often.
CHAIN = {
    **{before: (after, None) for before, after in pairwise("\n\\boxed{")},
    "{": ("2", "3"),
    "2": ("}", None),
    "3": ("}", None),
    "}": (chr(END_ID), "."),
    ".": (".", None),
}
SECOND = 0.93
SHARPNESS = 2.0


def write_scripted_model(folder, *, max_tokens):
    r"""Save a Qwen2 that answers 2 or, with a probability of about 1/4, 3, to any prompt.

    Answers are ``\boxed{2}`` and ``\boxed{3}``, and about 1/4 of both goes on with dots for ever.
    A greedy answer is ``\boxed{2}``; anything else has a probability of about 1e-5 an answer. The
    state after a character is its one-hot vector (attention adds nothing); the MLP adds those of
    the characters that follow, many times larger.

    Args:
        folder: to write.
        max_tokens: longest prompt plus response; prompts end with a line feed.
    """
    model = tiny_qwen2(
        max_tokens=max_tokens,
        hidden_size=VOCABULARY_SIZE,
        intermediate_size=VOCABULARY_SIZE,
        num_layers=1,
    )
    chain = torch.zeros(VOCABULARY_SIZE, VOCABULARY_SIZE)
    for before, (first, second) in CHAIN.items():
        chain[ord(first), ord(before)] = 1.0
        if second:
            chain[ord(second), ord(before)] = SECOND
    identity = torch.eye(VOCABULARY_SIZE)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(identity)
        layer = model.model.layers[0]
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        layer.mlp.gate_proj.weight.copy_(identity)
        layer.mlp.up_proj.weight.copy_(identity)
        layer.mlp.down_proj.weight.copy_(chain)
        model.model.norm.weight.fill_(SHARPNESS)
    save(folder, model)
