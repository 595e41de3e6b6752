"""What the agent is told first in a game of each task type, and how many tokens that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from holderpo.alfworld.engine import GameError, missing_packages
from holderpo.alfworld.engine_process import EngineLostError, EngineProcess
from holderpo.alfworld.games import Game
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.alfworld.turn_prompt import TurnPromptSettings, task_of, turn_prompt
from recipe.holderpo.alfworld.agent_settings import agent_settings
from recipe.holderpo.checks.games import Games
from recipe.holderpo.checks.prompt_lengths import PromptCounter, TemplateError, prompt_counter


@dataclass(frozen=True)
class FirstPrompt:
    """Of one game."""

    task_type: str
    """Short name."""
    game_file: Path
    """Which one: the largest file of its type, so one of the longest first texts."""
    text: str
    """The message."""
    num_tokens: int | None
    """With the chat template; None without the tokenizer."""


@dataclass
class FirstPrompts:
    """Of each task type of a run's games."""

    prompts: list[FirstPrompt] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Each ``field: value; fix``."""
    warnings: list[str] = field(default_factory=list)


def look_at_first_prompts(config: DictConfig, games: Games) -> FirstPrompts:
    """Start a game of each task type and count what the agent is told.

    Args:
        config: that is right otherwise, of a run whose rows are games.
        games: without problems.

    Returns:
        The prompts, and games that do not start or whose prompt is longer than verl takes; nothing
        where the packages that play games are missing.
    """
    found = FirstPrompts()
    if missing_packages():
        return found
    try:
        counter = prompt_counter(config)
    except TemplateError as error:
        found.problems.append(str(error))
        return found
    if isinstance(counter, str):
        found.warnings.append(
            f"data.max_prompt_length: {config.data.max_prompt_length}; prompts are not counted: "
            f"{counter}"
        )
    settings = agent_settings(config)
    engine = EngineProcess(settings.environment.engine)
    try:
        for task_type, file in _largest(games):
            prompt = _first(engine, task_type, file, settings.prompt, found)
            if prompt is not None:
                found.prompts.append(_counted(prompt, counter, found))
    finally:
        engine.kill()
    found.problems += _too_long(config, found.prompts)
    return found


def prompt_lines(prompts: Sequence[FirstPrompt]) -> Iterator[str]:
    """The prompts as a person reads them.

    Args:
        prompts: of each task type.

    Yields:
        Lines.
    """
    for prompt in prompts:
        count = prompt.num_tokens
        tokens = "not counted" if count is None else f"{count} tokens"
        yield ""
        yield f"first prompt of {prompt.task_type} ({tokens}), {prompt.game_file}"
        yield from (f"  {line}".rstrip() for line in prompt.text.splitlines())


def _largest(games: Games) -> Iterator[tuple[str, Path]]:
    """Of each task type the largest game file."""
    places: list[tuple[Game, Path]] = [pair for used in games.used.values() for pair in used]
    for task_type, short in TASK_TYPES.items():
        files = [file for game, file in places if game.task_type == task_type]
        if files:
            yield short, max(files, key=lambda file: (file.stat().st_size, str(file)))


def _first(
    engine: EngineProcess,
    task_type: str,
    file: Path,
    settings: TurnPromptSettings,
    found: FirstPrompts,
) -> FirstPrompt | None:
    try:
        turn = engine.reset("first prompt", file, max_steps=1)
        text = turn_prompt(
            task=task_of(turn.observation),
            observation=turn.observation,
            admissible=turn.admissible,
            settings=settings,
        )
    except (GameError, ValueError) as error:
        found.problems.append(f"data: the game {file} cannot be played ({error}); make it again")
        return None
    except EngineLostError as error:
        found.problems.append(f"agent.environment.engine: {file} does not start ({error})")
        return None
    return FirstPrompt(task_type, file, text, None)


def _counted(prompt: FirstPrompt, counter: PromptCounter | str, found: FirstPrompts) -> FirstPrompt:
    if isinstance(counter, str):
        return prompt
    try:
        (count,) = counter.count([[{"role": "user", "content": prompt.text}]], at_most=0)
    except TemplateError as error:
        found.problems.append(
            f"actor_rollout_ref.model.custom_chat_template: a turn's message does not go into the "
            f"chat template ({error}); mend the template"
        )
        return prompt
    return FirstPrompt(prompt.task_type, prompt.game_file, prompt.text, count)


def _too_long(config: DictConfig, prompts: Sequence[FirstPrompt]) -> Iterator[str]:
    limit = config.data.max_prompt_length
    long = [one for one in prompts if one.num_tokens is not None and one.num_tokens > limit]
    if long:
        most = max(long, key=lambda one: one.num_tokens or 0)
        names = ", ".join(f"{one.task_type} {one.num_tokens}" for one in long)
        yield (
            f"data.max_prompt_length: {limit}; the first prompt alone takes more ({names} tokens): "
            f"those games would end before their first turn, give {most.num_tokens} or more"
        )
