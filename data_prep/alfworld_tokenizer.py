"""A tokenizer for ALFWorld's texts, small enough for a model of a million parameters.

Names of things are single tokens and their numbers others, so that a model can copy a name from
one place to another; what the game and the messages say again and again is one token each, so that
messages stay short. Everything else falls into pieces, at worst bytes: no text is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer

from data_prep.tiny_model import CHAT_TEMPLATE, END, PAD

VOCABULARY_SIZE = 1024
"""Most tokens, phrases and numbers left out."""

PHRASES = (
    "<think></think><action>",
    "</action>",
    "-= Welcome to TextWorld, ALFRED! =-\n\n",
    "You are in the middle of a room. Looking quickly around you, you see",
    "\n\nYour task is to:",
    "Your task is to:",
    "\n[Step",
    "] You observed: ",
    "\nYour command: ",
    *(
        f"\n- {verb}"
        for verb in (
            "clean", "close", "cool", "examine", "go to", "heat", "inventory", "look", "move",
            "open", "slice", "take", "use",
        )
    ),
    "go to",
    "You arrive at",
    ". On the",
    ", you see",
    ", and a",
    ", a",
    ". The",
    " is closed.",
    " is open. In it, you see",
    "You open the",
    "You close the",
    "You pick up the",
    "You move the",
    " from the",
    " to the",
    " using the",
)  # fmt: skip
"""Of game and messages, one token each."""

NUMBERS = tuple(f" {number}" for number in range(1, 41))
"""Of things, each with the space before it; to Qwen2's tokenizer it is at least two tokens."""


def train_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Train a byte-level BPE; the same texts give the same tokenizer.

    Args:
        texts: messages and responses.

    Returns:
        A tokenizer whose ids 0 and 1 pad and end; its chat template is the bare text of the
        messages. It cuts texts in words as Qwen2's does, because that is what AutoTokenizer makes
        of the tokenizer of any Qwen2 checkpoint.
    """
    cutting = Qwen2Tokenizer().backend_tokenizer
    learner = Tokenizer(BPE())
    learner.normalizer, learner.pre_tokenizer = cutting.normalizer, cutting.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    apart = sorted((*PHRASES, *NUMBERS), key=len, reverse=True)
    between = re.compile("|".join(map(re.escape, apart)))
    learner.train_from_iterator((part for text in texts for part in between.split(text)), trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],
        unk_token=END,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (*PHRASES, *NUMBERS)])
    return tokenizer
