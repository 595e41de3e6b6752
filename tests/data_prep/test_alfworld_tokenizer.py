"""The small tokenizer: whole words, nothing lost, loaded as any other."""

import pytest
from transformers import AutoTokenizer

from data_prep.alfworld_tokenizer import NUMBERS, PHRASES, train_tokenizer
from data_prep.tiny_model import END_ID, PAD_ID, save, tiny_qwen2

TEXTS = [
    "Your task is to: put a clean mug in cabinet.\n[Step 2] You observed: You arrive at "
    "cabinet 12. The cabinet 12 is closed.\nYour command: go to cabinet 12\n- go to drawer 1\n"
    "- take mug 12 from cabinet 12\nYour command: ",
    "<think></think><action>take mug 1 from cabinet 12</action>",
] * 4


@pytest.fixture(scope="module", params=["trained", "loaded"])
def tokenizer(request, tmp_path_factory):
    trained = train_tokenizer(TEXTS)
    if request.param == "trained":
        return trained
    folder = tmp_path_factory.mktemp("model")
    save(folder, tiny_qwen2(max_tokens=64, vocabulary_size=len(trained)), trained)
    return AutoTokenizer.from_pretrained(folder)


def pieces(tokenizer, text):
    return [tokenizer.decode([number]) for number in tokenizer(text).input_ids]


def test_names_numbers_and_phrases_are_one_token_each(tokenizer):
    assert pieces(tokenizer, TEXTS[1]) == [
        "<think></think><action>", "take", " mug", " 1", " from", " cabinet", " 12", "</action>",
    ]  # fmt: skip
    assert pieces(tokenizer, "\n- go to cabinet 12") == ["\n- go to", " cabinet", " 12"]
    for phrase in (*PHRASES, *NUMBERS, "\n"):
        assert len(tokenizer(phrase).input_ids) == 1, phrase


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS[:2],
        "put a zebra 99 in/on safe 3",
        "  two  spaces \t tab\r\n\n lines ",
        "看 é \u00a0 \ud7ff \U0001f600 ſ <end>x<pad> </think>",
        "",
    ],
)
def test_every_text_comes_back_as_it_was(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_what_the_model_answers_is_not_taken_for_special(tokenizer):
    ids = [*tokenizer(TEXTS[1]).input_ids, END_ID]
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXTS[1]


def test_ids_that_pad_and_end_and_the_bare_template(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD_ID, END_ID)
    message = [{"role": "user", "content": TEXTS[0]}]
    assert tokenizer.apply_chat_template(message, tokenize=False) == TEXTS[0]


def test_the_same_texts_give_the_same_tokenizer():
    assert train_tokenizer(TEXTS).get_vocab() == train_tokenizer(iter(TEXTS)).get_vocab()
