"""Everything that plays the missing episodes: Ray, the environments, vLLM, and the files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from holderpo.alfworld.episode_records import EPISODES_FILE, EpisodeRecord, Episodes, to_line
from holderpo.alfworld.transcripts import TRANSCRIPTS_FILE, Transcript, transcript_line
from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.alfworld.environment_group import EnvironmentGroup
from recipe.holderpo.checks.this_machine import usable_cpus
from recipe.holderpo.evaluate.alfworld.panel_driver import Match, play_panel
from recipe.holderpo.evaluate.alfworld.panel_plan import ModelPlan, PanelPlan
from recipe.holderpo.evaluate.alfworld.policies import (
    RANDOM,
    AskModel,
    Chance,
    FollowExpert,
    Policy,
)
from recipe.holderpo.evaluate.alfworld.wanted_episodes import WantedEpisode
from recipe.holderpo.evaluate.answering_thread import AnsweringThread
from recipe.holderpo.evaluate.engine_options import engine_settings
from recipe.holderpo.evaluate.evaluation_folder import progress_bar
from recipe.holderpo.evaluate.generation import make_engine
from recipe.holderpo.run.console import Console


def play_missing(
    plan: PanelPlan, missing: Sequence[WantedEpisode], episodes: Episodes, console: Console
) -> dict[str, float]:
    """Play episodes; each is on disk when it is over.

    Args:
        plan: of the evaluation.
        missing: the episodes.
        episodes: to which they are added.
        console: for the bar.

    Returns:
        What became of the environments, as ``env/...``.
    """
    out = plan.arguments.out
    bar = progress_bar(console, len(missing), "episode")

    def keep(record: EpisodeRecord, transcript: Transcript) -> None:
        # In this order: every record has its transcript.
        with (out / TRANSCRIPTS_FILE).open("a", encoding="utf-8") as file:
            file.write(transcript_line(transcript))
        with (out / EPISODES_FILE).open("a", encoding="utf-8") as file:
            file.write(to_line(record))
        episodes[record.key] = record
        bar.update()

    with bar, environments(plan.environment) as group, policy_of(plan) as policy:
        match = Match(
            folder=plan.manifest.folder,
            policy=policy,
            max_steps=plan.arguments.max_steps,
            seed=plan.arguments.seed,
        )
        return asyncio.run(_play(match, group, missing, plan.arguments.side_by_side, keep))


async def _play(
    match: Match,
    group: EnvironmentGroup,
    missing: Sequence[WantedEpisode],
    side_by_side: int,
    keep: Callable[[EpisodeRecord, Transcript], None],
) -> dict[str, float]:
    await play_panel(match, group, missing, side_by_side=side_by_side, on_finished=keep)
    return await group.metrics()


@contextmanager
def environments(settings: EnvironmentSettings) -> Iterator[EnvironmentGroup]:
    """Environments in a Ray of their own, which ends with them.

    Args:
        settings: of the workers.

    Yields:
        The group.
    """
    import ray

    ray.init(
        address="local",
        num_cpus=usable_cpus(),
        include_dashboard=False,
        logging_level="warning",
    )
    try:
        group = EnvironmentGroup.start(settings)
        try:
            yield group
        finally:
            group.close()
    finally:
        ray.shutdown()


@contextmanager
def policy_of(plan: PanelPlan) -> Iterator[Policy]:
    """Who plays; a model is loaded.

    Args:
        plan: of the evaluation.

    Yields:
        The policy.
    """
    seed = plan.arguments.seed
    if plan.model is not None:
        with _model_policy(plan, plan.model) as policy:
            yield policy
    else:
        yield Chance(seed) if plan.policy == RANDOM else FollowExpert(seed)


@contextmanager
def _model_policy(plan: PanelPlan, model: ModelPlan) -> Iterator[AskModel]:
    engine = make_engine(
        engine_settings(
            plan.arguments,
            model.model,
            device=model.device,
            dtype=model.dtype,
            max_model_len=model.context,
            batch_invariant=model.batch_invariant,
        )
    )
    answers = AnsweringThread(engine)
    try:
        yield AskModel(
            seed=plan.arguments.seed,
            answers=answers,
            tokenizer=model.tokenizer,
            sampling=model.sampling,
            context=model.context,
            texts=model.texts,
        )
    finally:
        answers.close()
