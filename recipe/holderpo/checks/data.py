"""Whether the prepared data fit the configuration: their prompt templates, as their rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, TEMPLATES

FIELDS = ("data.train_files", "data.val_files")
# Of a row, with its template's name (data_prep).
_COLUMN = "extra_info.template"
_CHAT_TEMPLATE = "actor_rollout_ref.model.custom_chat_template"


def data_files(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Field and path of each file of data."""
    for field in FIELDS:
        value = OmegaConf.select(config, field)
        for path in value if OmegaConf.is_list(value) else [value]:
            yield field, str(path)


def template_problems(config: DictConfig) -> Iterator[str]:
    """Data whose prompts the model's chat template would wrap twice, or not at all.

    Files whose rows name no template cannot be judged.

    Args:
        config: with existing files.

    Yields:
        One line per file: field, value, fix.
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
    """Field, path and template's name of each file whose rows name one."""
    for field, path in data_files(config):
        for template in _row_templates(Path(path).expanduser()):
            yield field, path, template


def _row_templates(file: Path) -> list[str]:
    """The names in a file's rows: a file can be newer than the manifest beside it."""
    if file.suffix != ".parquet" or not file.is_file():
        return []
    try:
        with pq.ParquetFile(file) as content:
            paths = [content.schema.column(index).path for index in range(len(content.schema))]
        if _COLUMN not in paths:
            return []
        names = pq.read_table(file, columns=[_COLUMN]).column(0).unique().to_pylist()
    except (pa.ArrowException, OSError):
        return []  # verl says what it cannot read.
    return sorted(name for name in names if name is not None)
