"""A Qwen2 small enough for a laptop, and a character tokenizer, made from scratch."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

VOCABULARY_SIZE = 128
PAD_ID, PAD = 0, "<pad>"
END_ID, END = 1, "<end>"
# The smallest that vLLM's CPU attention takes.
HEAD_SIZE = 32
# The bare text of the messages.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def ascii_tokenizer() -> Qwen2Tokenizer:
    """One token per ASCII character, whose code is its number; 0 pads and 1 ends.

    It is Qwen2's byte-level tokenizer without merges, because that is what AutoTokenizer makes of
    the tokenizer of any Qwen2 checkpoint. The chat template is the bare text of the messages.
    """
    names = bytes_to_unicode()
    vocabulary = {names[code]: code for code in range(2, VOCABULARY_SIZE)}
    vocabulary |= {PAD: PAD_ID, END: END_ID}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token=END,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
    )


def tiny_qwen2(
    *,
    max_tokens: int,
    vocabulary_size: int = VOCABULARY_SIZE,
    hidden_size: int = 64,
    intermediate_size: int = 192,
    num_layers: int = 2,
    initializer_range: float = 0.02,
) -> Qwen2ForCausalLM:
    """A freshly initialised Qwen2, by default of about 0.1 M parameters, in float32.

    Args:
        max_tokens: longest prompt plus response.
        vocabulary_size: of its tokenizer.
        hidden_size: a multiple of 32.
        intermediate_size: of the MLP.
        num_layers: above 0.
        initializer_range: standard deviation of fresh weights; 0.02 is Qwen2's own.
    """
    num_heads = hidden_size // HEAD_SIZE
    config = Qwen2Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=max_tokens,
        tie_word_embeddings=True,
        initializer_range=initializer_range,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


def save(
    folder: Path, model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase | None = None
) -> None:
    """Write model and tokenizer in Hugging Face's format.

    Args:
        folder: where to.
        model: of :func:`tiny_qwen2`.
        tokenizer: the one of characters if left out.
    """
    model.save_pretrained(folder)
    (tokenizer or ascii_tokenizer()).save_pretrained(folder)
