"""A model that says the same few characters to anything, save for a slip now and then."""

from itertools import pairwise

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from data_prep.tiny_model import END_ID, PAD_ID, VOCABULARY_SIZE, save


def write_scripted_model(folder, script, *, prompt_end, max_tokens, sharpness=0.75):
    """Save a Qwen2 whose next token is the script's, whatever the prompt.

    The state after a character is its one-hot vector (attention adds nothing); the MLP adds that of
    the character after it in the script, many times larger. A sampled answer of 10 characters slips
    with a probability of about 1/4, a greedy one never.

    Args:
        folder: to write.
        script: distinct ASCII characters.
        prompt_end: last character of every prompt, not in the script.
        max_tokens: longest prompt plus response.
        sharpness: of the distribution.
    """
    config = Qwen2Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=VOCABULARY_SIZE,
        intermediate_size=VOCABULARY_SIZE,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
    )
    model = Qwen2ForCausalLM(config)
    codes = [ord(character) for character in prompt_end + script] + [END_ID]
    chain = torch.zeros(VOCABULARY_SIZE, VOCABULARY_SIZE)
    for before, after in pairwise(codes):
        chain[after, before] = 1.0
    identity = torch.eye(VOCABULARY_SIZE)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(identity)
        layer = model.model.layers[0]
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        layer.mlp.gate_proj.weight.copy_(identity)
        layer.mlp.up_proj.weight.copy_(identity)
        layer.mlp.down_proj.weight.copy_(chain)
        model.model.norm.weight.fill_(sharpness)
    save(folder, model)
