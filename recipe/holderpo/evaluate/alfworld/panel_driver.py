"""Playing the episodes of a panel, many at a time; no turn waits for that of another episode."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from holderpo.alfworld.actions import ActionKind
from holderpo.alfworld.agent_memory import NoTaskError
from holderpo.alfworld.episode_records import EpisodeRecord
from holderpo.alfworld.episode_reward import RewardSettings
from holderpo.alfworld.transcripts import Transcript, TranscriptTurn
from holderpo.alfworld.turns import Outcome, Turn
from recipe.holderpo.alfworld.group_episode import EpisodeFailedError
from recipe.holderpo.evaluate.alfworld.policies import Move, Policy
from recipe.holderpo.evaluate.alfworld.wanted_episodes import WantedEpisode

_REWARD = RewardSettings()


class Group(Protocol):
    """What :class:`~recipe.holderpo.alfworld.environment_group.EnvironmentGroup` offers."""

    def episode(self, game_file: Path, key: int, *, max_steps: int, expert_seed: int | None) -> Any:
        """An episode, not yet started."""

    async def prepare(self, game_file: Path, key: int) -> None:
        """Translate a game ahead of its reset."""


@dataclass(frozen=True)
class Match:
    """What all episodes of a panel have in common."""

    folder: Path
    """That the games' paths start from."""
    policy: Policy
    """Who plays."""
    max_steps: int
    """Limit of each episode."""
    seed: int
    """Of the evaluation."""


async def play_panel(
    match: Match,
    group: Group,
    wanted: Iterable[WantedEpisode],
    *,
    side_by_side: int,
    on_finished: Callable[[EpisodeRecord, Transcript], None],
) -> None:
    """Play episodes; whenever one is over, the next one starts.

    Args:
        match: what they have in common.
        group: of the environments.
        wanted: the episodes, started in this order.
        side_by_side: how many are played at a time.
        on_finished: called with each one when it is over, in no order.
    """
    waiting = deque(wanted)
    num_players = min(side_by_side, len(waiting))
    num_started = 0
    beside: set[asyncio.Future[None]] = set()

    async def play_on() -> None:
        nonlocal num_started
        while waiting:
            one = waiting.popleft()
            num_started += 1
            if waiting and num_started >= num_players:
                # The next game is translated while these are played.
                beside.add(asyncio.ensure_future(_prepare(match, group, waiting[0])))
            on_finished(*await play_episode(match, group, one))

    players = [asyncio.ensure_future(play_on()) for _ in range(num_players)]
    try:
        await asyncio.gather(*players)
    finally:
        for task in (*players, *beside):
            task.cancel()
        await asyncio.gather(*players, *beside, return_exceptions=True)


async def _prepare(match: Match, group: Group, wanted: WantedEpisode) -> None:
    await group.prepare(match.folder / wanted.game.path, wanted.number)


async def play_episode(
    match: Match, group: Group, wanted: WantedEpisode
) -> tuple[EpisodeRecord, Transcript]:
    """Play one episode to its end.

    Args:
        match: what all episodes have in common.
        group: of the environments.
        wanted: the episode.

    Returns:
        Its record, and what was said in it.
    """
    episode = group.episode(
        match.folder / wanted.game.path,
        wanted.number,
        max_steps=match.max_steps,
        expert_seed=match.policy.expert_seed(wanted),
    )
    player = match.policy.player(wanted)
    moves: list[tuple[Turn, Move]] = []
    num_steps, end, reason = 0, "", ""
    try:
        turn = await episode.reset()
        while not turn.done and (move := await player.move(turn)) is not None:
            moves.append((turn, move))
            turn = await episode.step(move.command)
            num_steps += 1
        end = turn.observation
        outcome = Outcome.LENGTH
        if turn.done:
            outcome = Outcome.WON if turn.won else Outcome.STEP_LIMIT
    except (EpisodeFailedError, NoTaskError) as error:
        outcome, reason = Outcome.FAILED, str(error) or type(error).__name__
    await episode.close()
    done = [move for _, move in moves[:num_steps]]
    record = _record(match, wanted, outcome, done, reason, episode.num_restarts)
    said = tuple(_said(turn, move) for turn, move in moves)
    return record, Transcript(wanted.key, said, end)


def _record(
    match: Match,
    wanted: WantedEpisode,
    outcome: Outcome,
    moves: Sequence[Move],
    reason: str,
    num_restarts: int,
) -> EpisodeRecord:
    kinds = Counter(move.kind for move in moves)
    reward = 0.0
    if outcome is not Outcome.FAILED:
        reward = _REWARD.episode_reward(outcome is Outcome.WON)
        reward -= math.fsum(_REWARD.turn_penalty(move.kind) for move in moves)
    game = wanted.game
    return EpisodeRecord(
        game=game.path,
        task_type=game.task_type,
        won=outcome is Outcome.WON,
        steps=len(moves),
        outcome=outcome,
        pass_number=wanted.pass_number,
        number=wanted.number,
        seed=match.seed,
        split=game.split,
        scene=game.scene,
        sha256=game.sha256,
        truncated=sum(move.truncated for move in moves),
        malformed=kinds[ActionKind.MALFORMED],
        inadmissible=kinds[ActionKind.INADMISSIBLE],
        episode_return=reward,
        restarts=num_restarts,
        reason=reason,
    )


def _said(turn: Turn, move: Move) -> TranscriptTurn:
    return TranscriptTurn(
        observation=turn.observation,
        admissible=turn.admissible,
        response=move.response,
        command=move.command,
        kind=move.kind,
        why=move.why,
        truncated=move.truncated,
    )
