"""The exact texts of the prompt templates."""

import hashlib

import pytest

from data_prep.tiny_model import ascii_tokenizer
from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, TEMPLATES, render


def test_qwen_math_is_the_recipes_text():
    assert render("What is 1+1?", "qwen_math") == (
        "<|im_start|>system\n"
        "Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\n"
        "What is 1+1?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_r1_is_the_recipes_text():
    text = render("What is 1+1?", "r1")
    # Of the text that the recipe's own function returns for this question.
    expected = "a6ed58c9a6437e23231aa41accb1c2bc35d45a0be87a29ebdd39b68e92e312c5"
    assert hashlib.sha256(text.encode()).hexdigest() == expected
    assert text.endswith(
        " i.e., <think> reasoning process here </think> <answer> answer here </answer>.\n"
        "User: What is 1+1?\nAssistant: <think>"
    )
    assert TEMPLATES["r1"].stop == ("</answer>",)


def test_the_other_templates():
    assert render("What is 1+1?", "none") == "What is 1+1?"
    assert render("What is 1+1?", "chat") == (
        "What is 1+1?\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_question_stays_as_it_is(template):
    question = "{{ x }} {% if %} {question} %s \\boxed{7}"
    assert question in render(question, template)


def test_unknown_template_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'no'; give one of qwen_math, r1, none, chat"):
        render("x", "no")


def test_raw_chat_template_hands_the_prompt_through():
    tokenizer = ascii_tokenizer()
    prompt = render("What is 1+1?", "qwen_math")
    messages = [{"role": "user", "content": prompt}]
    for generation in (False, True):
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=RAW_CHAT_TEMPLATE,
            tokenize=False,
            add_generation_prompt=generation,
        )
        assert text == prompt
    tokenizer.bos_token = "<s>"
    text = tokenizer.apply_chat_template(messages, chat_template=RAW_CHAT_TEMPLATE, tokenize=False)
    assert text == "<s>" + prompt
