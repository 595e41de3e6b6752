"""The character tokenizer."""

from transformers import AutoTokenizer

from data_prep.tiny_model import ascii_tokenizer, save, tiny_qwen2


def test_tokenizer_keeps_every_character_also_after_loading(tmp_path):
    save(tmp_path, tiny_qwen2(max_tokens=64))
    text = "79 48=\n16 13"
    for tokenizer in (ascii_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        assert tokenizer(text).input_ids == list(text.encode())
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        chat = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        assert chat == text
