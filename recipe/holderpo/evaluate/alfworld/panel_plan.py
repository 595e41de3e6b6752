"""What an evaluation on ALFWorld will do, and all that is wrong with it, before it starts."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holderpo.alfworld.engine import missing_packages, read_game
from holderpo.alfworld.episode_records import EPISODES_FILE, Episodes, read_episodes
from holderpo.alfworld.games import GENERATOR_KEY, Manifest, collect_games
from holderpo.alfworld.split_folders import OFFICIAL_COUNTS
from holderpo.alfworld.tasks import TASK_TYPES
from holderpo.records_folder import settings_conflicts, settings_differences
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.checks.this_machine import usable_cpus
from recipe.holderpo.evaluate.alfworld.model_plan import (
    OF_A_MODEL,
    ModelPlan,
    make_model_plan,
    model_notes,
    model_problems,
)
from recipe.holderpo.evaluate.alfworld.policies import EXPERT, RANDOM
from recipe.holderpo.evaluate.alfworld.wanted_episodes import (
    NumberedGame,
    WantedEpisode,
    wanted_episodes,
)
from recipe.holderpo.evaluate.engine_options import DEFAULTS as ENGINE_DEFAULTS
from recipe.holderpo.evaluate.engine_options import choose_device
from recipe.holderpo.evaluate.evaluation_folder import PlanError, out_problems
from recipe.holderpo.evaluate.weights import locate_model


@dataclass(frozen=True)
class PanelPlan:
    """A checked evaluation."""

    arguments: argparse.Namespace
    """Of the command line."""
    manifest: Manifest
    """Of the whole split."""
    games: tuple[NumberedGame, ...]
    """To be played."""
    task_types: tuple[str, ...]
    """That they were chosen by; empty for all."""
    environment: EnvironmentSettings
    """Of the workers."""
    model: ModelPlan | None
    """None for policies without one."""
    earlier: Episodes = field(default_factory=dict)
    """Of the evaluation that this one is compared with."""
    notes: list[str] = field(default_factory=list)
    """What should be known beside the numbers."""

    def settings(self) -> dict[str, Any]:
        """What makes the episodes; see :mod:`holderpo.records_folder`."""
        return {
            "games": {
                "path": str(self.manifest.folder),
                "split": self.manifest.split,
                "digest": self.manifest.digest,
                "alfworld": self.manifest.alfworld_version,
            },
            "episodes": {
                "policy": self.policy,
                "seed": self.arguments.seed,
                "max_steps": self.arguments.max_steps,
            },
            **({} if self.model is None else self.model.settings()),
        }

    @property
    def policy(self) -> str:
        """``random``, ``expert``, or ``model``."""
        return "model" if self.model is not None else str(self.arguments.policy)

    @property
    def title(self) -> str:
        """Who plays."""
        return self.policy if self.model is None else self.model.model.path

    @property
    def num_in_split(self) -> int:
        """Games that the split should have: of a published one as many as were published."""
        published = OFFICIAL_COUNTS.get(self.manifest.split, len(self.manifest.games))
        if published == len(self.manifest.games) or _is_generated(self.manifest):
            return len(self.manifest.games)
        return published

    @property
    def wanted(self) -> list[WantedEpisode]:
        """All episodes, those of the first pass first."""
        return list(wanted_episodes(self.games, self.arguments.passes))


def make_panel_plan(arguments: argparse.Namespace) -> PanelPlan:
    """Check everything that can be checked before anything is started.

    Args:
        arguments: of the command line.

    Returns:
        The plan.

    Raises:
        PlanError: with all that is wrong; what the model has to be loaded for is only looked at
            if the rest is right.
    """
    problems = list(_argument_problems(arguments))
    task_types = _task_types(arguments, problems)
    manifest: Manifest | None = None
    games: tuple[NumberedGame, ...] = ()
    if arguments.games is not None and arguments.split is not None:
        try:
            manifest = collect_games(arguments.games, arguments.split)
            games = _chosen(manifest, task_types, arguments.limit_games)
        except ValueError as error:
            problems += [f"--{line}" for line in str(error).splitlines()]
    earlier = _earlier(arguments.against, arguments.out, games, problems)
    model, device = None, ""
    if not _has_no_model(arguments):
        try:
            model = locate_model(arguments.policy, arguments.revision, "--policy")
        except ValueError as error:
            problems.append(f"{error}; or give {RANDOM} or {EXPERT}")
        device, wrong = choose_device(arguments)
        problems += wrong
    if problems:
        raise PlanError(problems)
    assert manifest is not None
    plan = PanelPlan(
        arguments=arguments,
        manifest=manifest,
        games=games,
        task_types=task_types,
        environment=EnvironmentSettings(num_workers=arguments.workers),
        model=None if model is None else make_model_plan(arguments, model, device),
        earlier=earlier,
    )
    plan.notes.extend(_notes(plan))
    # A checkpoint that is not exported yet has no fingerprint: looked at again afterwards.
    if model is None or model.actor is None:
        check_panel_settings(plan)
    return plan


def check_panel_settings(plan: PanelPlan) -> None:
    """Refuse to add to episodes that were played otherwise.

    Args:
        plan: with a model, if any, that is exported.

    Raises:
        PlanError: naming each difference.
    """
    if conflicts := settings_conflicts(plan.arguments.out, plan.settings()):
        raise PlanError(conflicts)


def _is_generated(manifest: Manifest) -> bool:
    """Whether a split is none of the published ones, whatever its name."""
    return all(GENERATOR_KEY in read_game(manifest.file(game)) for game in manifest.games)


def _has_no_model(arguments: argparse.Namespace) -> bool:
    return arguments.policy in (None, RANDOM, EXPERT)


def _argument_problems(arguments: argparse.Namespace) -> Iterator[str]:
    missing = {
        "policy": f"a model's folder, {RANDOM} or {EXPERT}",
        "split": "such as valid_seen",
        "games": "the folder the games were unpacked in",
        "out": "a folder for everything",
    }
    for name, fix in missing.items():
        if getattr(arguments, name) is None:
            yield f"--{name}: missing; give {fix}"
    for name in (
        *("passes", "side_by_side", "max_steps", "limit_games", "workers", "max_tokens"),
        *("max_model_len", "max_num_seqs", "tensor_parallel_size"),
    ):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            yield f"--{name.replace('_', '-')}: {value}; give 1 or more"
    if arguments.out is not None:
        yield from out_problems(arguments.out)
    if lacking := missing_packages():
        yield lacking
    yield from model_problems(arguments)
    if arguments.workers is None or arguments.workers >= 1:
        try:
            EnvironmentSettings(num_workers=arguments.workers).fit(usable_cpus())
        except ValueError as error:
            yield f"--workers: {str(error).removeprefix('num_workers: ')}"


def _task_types(arguments: argparse.Namespace, problems: list[str]) -> tuple[str, ...]:
    """Keys of ``TASK_TYPES``, in their order; either name will do."""
    by_name = {name: name for name in TASK_TYPES}
    by_name |= {short: name for name, short in TASK_TYPES.items()}
    unknown = [name for name in arguments.task_types if name not in by_name]
    if unknown:
        problems.append(
            f"--task-types: {', '.join(map(repr, unknown))}; give some of "
            f"{', '.join(TASK_TYPES.values())}"
        )
    chosen = {by_name.get(name) for name in arguments.task_types}
    return tuple(name for name in TASK_TYPES if name in chosen)


def _chosen(
    manifest: Manifest, task_types: tuple[str, ...], limit: int | None
) -> tuple[NumberedGame, ...]:
    games = [
        NumberedGame(number, game)
        for number, game in enumerate(manifest.games, start=1)
        if not task_types or game.task_type in task_types
    ]
    if not games:
        there = ", ".join(TASK_TYPES[name] for name, count in manifest.counts.items() if count)
        raise ValueError(f"task-types: no such games in {manifest.split}, which has {there}")
    return tuple(games[:limit])


def _earlier(
    folder: Path | None, out: Path | None, games: Iterable[NumberedGame], problems: list[str]
) -> Episodes:
    """The episodes of another evaluation, if it has played any of these games."""
    if folder is None:
        return {}
    if out is not None and folder.resolve() == out.resolve():
        problems.append(f"--against: {folder} is --out itself; give that of another evaluation")
        return {}
    try:
        episodes = read_episodes(folder / EPISODES_FILE)
    except ValueError as error:
        problems.append(f"--against: {error}")
        return {}
    wanted = {numbered.game.sha256 for numbered in games}
    if not any(one.sha256 in wanted and not one.failed for one in episodes.values()):
        problems.append(
            f"--against: {folder} has no episode of these games; give --out of an evaluation of "
            "them"
        )
    return episodes


def _notes(plan: PanelPlan) -> Iterator[str]:
    arguments, manifest, model = plan.arguments, plan.manifest, plan.model
    yield from manifest.warnings
    if arguments.against is not None:
        differs = settings_differences(arguments.against, plan.settings())
        where = f", where {'; '.join(differs)}" if differs else ""
        yield f"Against {arguments.against}{where}."
    if len(plan.games) < len(manifest.games):
        why = []
        if plan.task_types:
            why.append(f"--task-types {' '.join(TASK_TYPES[name] for name in plan.task_types)}")
        if arguments.limit_games is not None:
            why.append(f"--limit-games {arguments.limit_games}")
        yield (
            f"A part of the split: {len(plan.games)} of {len(manifest.games)} games "
            f"({', '.join(why)})."
        )
    if model is None:
        for name in (*OF_A_MODEL, *ENGINE_DEFAULTS):
            if getattr(arguments, name) != ENGINE_DEFAULTS.get(name):
                yield f"--{name.replace('_', '-')} has no effect with --policy {plan.policy}."
    else:
        yield from model_notes(arguments, model)
