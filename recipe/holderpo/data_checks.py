"""Whether the prepared data fit the configuration: their prompt templates, by their manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from holderpo.prompt import RAW_CHAT_TEMPLATE, TEMPLATES

MANIFEST = "manifest.json"
FIELDS = ("data.train_files", "data.val_files")
_CHAT_TEMPLATE = "actor_rollout_ref.model.custom_chat_template"


def data_files(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Field and path of each file of data."""
    for field in FIELDS:
        value = OmegaConf.select(config, field)
        for path in value if OmegaConf.is_list(value) else [value]:
            yield field, str(path)


def template_problems(config: DictConfig) -> Iterator[str]:
    """Data whose prompts the model's chat template would wrap twice, or not at all.

    Files without a manifest, or with one that names no template, cannot be judged.

    Args:
        config: with existing files.

    Yields:
        One line a file: field, value, fix.
    """
    is_raw = config.actor_rollout_ref.model.custom_chat_template == RAW_CHAT_TEMPLATE
    for field, path, template in _templates(config):
        if template not in TEMPLATES:
            yield (
                f"{field}: {path} has the unknown template {template!r}; prepare it again with one "
                f"of {', '.join(TEMPLATES)}"
            )
        elif TEMPLATES[template].complete and not is_raw:
            yield (
                f"{field}: {path} has whole prompts (template {template!r}), which the model's "
                f"chat template would wrap again; choose prompt=raw ({_CHAT_TEMPLATE}), or prepare "
                "the data with --template chat"
            )
        elif not TEMPLATES[template].complete and is_raw:
            yield (
                f"{field}: {path} has bare questions (template {template!r}), and no chat template "
                f"would go around them; choose prompt=chat ({_CHAT_TEMPLATE}: null), or prepare "
                "the data with --template qwen_math"
            )


def template_warnings(config: DictConfig) -> list[str]:
    """Prompts that differ between training and validation, or need what verl does not do.

    Args:
        config: that has passed :func:`template_problems`.

    Returns:
        One line each.
    """
    templates = {(field, template) for field, _, template in _templates(config)}
    names = sorted({template for _, template in templates})
    warnings = [
        f"template {name!r} ends responses at {' or '.join(TEMPLATES[name].stop)}, verl does not: "
        "they go on to the end token or to data.max_response_length"
        for name in names
        if TEMPLATES[name].stop
    ]
    if len(names) > 1:
        listed = ", ".join(f"{field} {template}" for field, template in sorted(templates))
        warnings.append(f"the prompts' templates differ: {listed}")
    return warnings


def _templates(config: DictConfig) -> Iterator[tuple[str, str, str]]:
    """Field, path and template's name of each file whose manifest names one."""
    for field, path in data_files(config):
        manifest = Path(path).expanduser().parent / MANIFEST
        if manifest.exists():
            template = json.loads(manifest.read_text()).get("template")
            if template is not None:
                yield field, path, template
