"""Prompt templates: how a question becomes the text that a model continues.

Results are only comparable between identical prompts, so these are the exact texts of the recipes
they come from, and data, training and evaluation all take them from here. A prepared row carries
the name of its template.

**Source**: ``qwen_math``, ``r1`` and ``none`` are the templates of Dr. GRPO's minimal R1-Zero
recipe on oat (github.com/sail-sg/understand-r1-zero, ``train_zero_math.py``, where ``none`` is
called ``no``); the code released with HölderPO has the same texts and trains with ``qwen_math``.
"""

from __future__ import annotations

from dataclasses import dataclass

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."

# For templates with the whole prompt as the text of the user's message: the model's own chat
# template must not wrap it again.
RAW_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
)


@dataclass(frozen=True)
class PromptTemplate:
    """What stands around a question."""

    before: str
    """Text before the question."""
    after: str
    """Text after the question."""
    complete: bool
    """Whether this is the whole prompt; if not, the model's own chat template goes around it."""
    stop: tuple[str, ...] = ()
    """Texts that end a response; they are part of it."""


TEMPLATES: dict[str, PromptTemplate] = {
    "qwen_math": PromptTemplate(
        before=f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\n",
        after="<|im_end|>\n<|im_start|>assistant\n",
        complete=True,
    ),
    "r1": PromptTemplate(
        before=(
            "A conversation between User and Assistant. The User asks a question, and the Assistant"
            " solves it. The Assistant first thinks about the reasoning process in the mind and"
            " then provides the User with the answer. The reasoning process is enclosed within"
            " <think> </think> and answer is enclosed within <answer> </answer> tags, respectively,"
            " i.e., <think> reasoning process here </think> <answer> answer here </answer>."
            "\nUser: "
        ),
        after="\nAssistant: <think>",
        complete=True,
        stop=("</answer>",),
    ),
    "none": PromptTemplate(before="", after="", complete=True),
    "chat": PromptTemplate(before="", after=f"\n{INSTRUCTION}", complete=False),
}


def template_named(name: str) -> PromptTemplate:
    """Look a template up.

    Args:
        name: a key of ``TEMPLATES``.

    Returns:
        The template.

    Raises:
        ValueError: for any other name.
    """
    if name not in TEMPLATES:
        raise ValueError(f"template: {name!r}; give one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def render(question: str, template: str) -> str:
    """Put a question into a template.

    Args:
        question: the problem's text, which stays as it is.
        template: a key of ``TEMPLATES``.

    Returns:
        The text of the user's message: the whole prompt, or for ``chat`` what the model's own chat
        template goes around.

    Raises:
        ValueError: for an unknown template.
    """
    around = template_named(template)
    return f"{around.before}{question}{around.after}"
