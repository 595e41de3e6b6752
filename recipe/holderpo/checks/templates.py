"""Whether the prepared data fit the configuration: their prompt templates, as their rows say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, TEMPLATES
from recipe.holderpo.checks.tables import Table

_CHAT_TEMPLATE = "actor_rollout_ref.model.custom_chat_template"


def template_problems(config: DictConfig, tables: Sequence[Table]) -> Iterator[str]:
    """Data whose prompts the model's chat template would wrap twice, or not at all.

    Files whose rows name no template cannot be judged.

    Args:
        config: composed.
        tables: the files of data.

    Yields:
        One line per file: field, value, fix.
    """
    is_raw = config.actor_rollout_ref.model.custom_chat_template == RAW_CHAT_TEMPLATE
    for field, path, template in _templates(tables):
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


def template_warnings(tables: Sequence[Table]) -> list[str]:
    """Prompts that differ between training and validation, or need what verl does not do.

    Args:
        tables: the files of data.

    Returns:
        One line each.
    """
    templates = {(field, template) for field, _, template in _templates(tables)}
    names = sorted({template for _, template in templates})
    warnings = [
        f"template {name!r} ends responses at {' or '.join(TEMPLATES[name].stop)}, verl does not: "
        "they go on to the end token or to data.max_response_length"
        for name in names
        if name in TEMPLATES and TEMPLATES[name].stop
    ]
    if len(names) > 1:
        listed = ", ".join(f"{field} {template}" for field, template in sorted(templates))
        warnings.append(f"the prompts' templates differ: {listed}")
    return warnings


def _templates(tables: Sequence[Table]) -> Iterator[tuple[str, str, str]]:
    """Field, path and template's name of each file whose rows name one.

    The rows count, not the manifest beside them: a file can be newer.
    """
    for table in tables:
        infos = (row.get("extra_info") for row in table.rows)
        names = {info.get("template") for info in infos if isinstance(info, dict)}
        for name in sorted(name for name in names if isinstance(name, str)):
            yield table.field, table.path, name
