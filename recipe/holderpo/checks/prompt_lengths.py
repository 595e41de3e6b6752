"""How many tokens the prompts have in the rollout, where the tokenizer is on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from omegaconf import DictConfig, OmegaConf

from recipe.holderpo.sections import plain

_MODEL = "actor_rollout_ref.model"
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_ARGUMENTS = "data.apply_chat_template_kwargs"
# Arguments that verl's rollout gives itself, and those that change nothing about the tokens.
_OF_VERL = ("tokenize", "add_generation_prompt", "tools")
_OF_OUTPUT = ("return_dict", "return_tensors")


class TemplateError(ValueError):
    """A prompt that the chat template or the tokenizer refuses; the text says why."""

    def __init__(self, why: str, position: int = 0) -> None:
        """Keep the position.

        Args:
            why: in a few words.
            position: of the first such prompt, where it is a prompt's fault.
        """
        super().__init__(why)
        self.position = position


@dataclass(frozen=True)
class PromptCounter:
    """Counts tokens as verl's filter and its rollout of one turn make them."""

    tokenizer: Any
    """Of the model, from transformers, with the chat template of the configuration."""
    arguments: dict[str, Any]
    """Of the template: ``data.apply_chat_template_kwargs``."""

    def count(self, prompts: Sequence[Any], at_most: int) -> list[int]:
        """Tokens of each prompt.

        Args:
            prompts: lists of messages.
            at_most: prompts that cannot be longer are not tokenized.

        Returns:
            Exact above ``at_most``; else the tokens or an upper bound of them.

        Raises:
            TemplateError: naming the first prompt that cannot be rendered.
        """
        texts = self._texts(prompts)
        counts = [_bound(text) for text in texts]
        long = [position for position, bound in enumerate(counts) if bound > at_most]
        if long:
            with _one_thread():
                tokens = self.tokenizer(
                    [texts[position] for position in long],
                    add_special_tokens=False,
                    return_attention_mask=False,
                    verbose=False,
                )["input_ids"]
            for position, ids in zip(long, tokens, strict=True):
                counts[position] = len(ids)
        return counts

    def _texts(self, prompts: Sequence[Any]) -> list[str]:
        try:
            return self._render(prompts)
        # Templates are programs of others and raise what they like.
        except Exception:
            return [self._text(prompt, position) for position, prompt in enumerate(prompts)]

    def _text(self, prompt: Any, position: int) -> str:
        try:
            return self._render([prompt])[0]
        except Exception as error:
            # verl tries once more with a user's message before it: not counted.
            if all(message["role"] != "user" for message in prompt):
                return ""
            why = " ".join(str(error).split()) or type(error).__name__
            raise TemplateError(why[:200], position) from error

    def _render(self, prompts: Sequence[Any]) -> list[str]:
        texts: list[str] = self.tokenizer.apply_chat_template(
            list(prompts), add_generation_prompt=True, tokenize=False, **self.arguments
        )
        return texts


def _bound(text: str) -> int:
    """Most tokens that a text can have: ASCII never grows, and a prefix may be put before it."""
    return len(text) + 1 if text.isascii() else sys.maxsize


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the tokenizer start no threads: a process that forks later would warn of them."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def prompt_counter(config: DictConfig) -> PromptCounter | str:
    """The counter for a configuration.

    Args:
        config: composed.

    Returns:
        The counter, or why there is none, in words that follow "prompts are not counted: ".

    Raises:
        TemplateError: for a tokenizer that cannot be loaded or has no chat template, and for
            arguments of the template that it cannot get.
    """
    arguments = plain(config.data.get("apply_chat_template_kwargs") or OmegaConf.create({}))
    if taken := [key for key in arguments if key in _OF_VERL]:
        raise TemplateError(
            f"{_ARGUMENTS}.{taken[0]}: {arguments[taken[0]]!r}; verl gives this argument itself, "
            "remove it"
        )
    model = config.actor_rollout_ref.model
    name = str(model.get("tokenizer_path") or model.path)
    folder = tokenizer_folder(name)
    if folder is None:
        return f"the tokenizer of {name} is not on this machine"
    if any((folder / file).exists() for file in _PROCESSOR_FILES):
        return f"{name} has a processor of images or sound"
    tools = [key for key in ("tool_config_path", "function_tool_path") if config.data.get(key)]
    if tools:
        return f"data.{tools[0]} adds tools to them"
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=bool(model.get("trust_remote_code")), local_files_only=True
        )
    except Exception as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TemplateError(
            f"{_MODEL}.path: the tokenizer of {name} cannot be loaded ({why}); give one that can"
        ) from error
    if model.custom_chat_template is not None:
        tokenizer.chat_template = model.custom_chat_template
    arguments = {key: value for key, value in arguments.items() if key not in _OF_OUTPUT}
    if not tokenizer.chat_template and not arguments.get("chat_template"):
        raise TemplateError(
            f"{_MODEL}.custom_chat_template: null, and the tokenizer of {name} has no chat "
            "template; choose prompt=raw for data with whole prompts, or give a template"
        )
    return PromptCounter(tokenizer, arguments)


def tokenizer_folder(name: str) -> Path | None:
    """Where a tokenizer is on this machine.

    Args:
        name: folder, or name on the hub.

    Returns:
        A folder with its files; None if there is none, also not in the hub's cache.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder if any((folder / file).exists() for file in _TOKENIZER_FILES) else None
    if name.count("/") > 1 or "://" in name:
        return None
    for file in _TOKENIZER_FILES:
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            return Path(cached).parent
    return None
