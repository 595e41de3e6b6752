"""verl's agent loop for ALFWorld: one episode, one training row per turn.

verl's V1 trainer keeps of a row what the loop returns, copies the last row's reward to all rows of
an episode, and writes each under ``<prompt>_<episode>_<turn>``. What the advantage needs of a turn
travels beside it, see :mod:`recipe.holderpo.alfworld.turn_fields`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
)
from verl.workers.rollout.replica import TokenOutput

from holderpo.alfworld.actions import ParsedAction, parse_action
from holderpo.alfworld.agent_memory import AgentMemory, NoTaskError, message_tokens
from holderpo.alfworld.turns import Outcome, Turn
from recipe.holderpo.alfworld.agent_settings import ZERO, AgentSettings, agent_settings
from recipe.holderpo.alfworld.environment_group import EnvironmentGroup
from recipe.holderpo.alfworld.group_episode import EpisodeFailedError, GroupEpisode
from recipe.holderpo.alfworld.turn_fields import EpisodeFields, TurnFields
from recipe.holderpo.reward_manager import end_tokens
from recipe.holderpo.turn_rows import EPISODE_FIELD, TURN_FIELD

logger = logging.getLogger(__name__)
logger.setLevel(logging.WARNING)


@dataclass
class _Answered:
    """A turn with what the model answered."""

    observation: str
    prompt: list[int]
    answer: TokenOutput
    action: ParsedAction
    truncated: bool
    generation_seconds: float = 0.0
    environment_seconds: float = 0.0


@dataclass
class _Played:
    """An episode as far as it came."""

    game: str
    task_type: str
    weights: int
    """Number of the weights that play it, as verl counts them."""
    turns: list[_Answered] = field(default_factory=list)
    outcome: Outcome = Outcome.FAILED
    num_restarts: int = 0


class AlfworldLoop(AgentLoopBase):
    """Plays an episode in the environment workers.

    ``rollout.agent.default_agent_loop: alfworld`` chooses it, or the field ``agent_name`` of the
    data.
    """

    def __init__(self, *args: Any, hf_model_type: str | None = None, **kwargs: Any) -> None:
        """As verl's, with the settings of the run and its environment workers.

        Args:
            args: handed on.
            hf_model_type: left out on purpose: every turn is a conversation of its own, so nothing
                depends on the family of the model.
            kwargs: handed on.
        """
        super().__init__(*args, **kwargs)
        self._settings: AgentSettings = agent_settings(self.config)
        self._group = EnvironmentGroup.of_this_job(self._settings.environment)
        model = self.config.actor_rollout_ref.model
        self._end_tokens = end_tokens(
            self.tokenizer, model.path, trust_remote_code=bool(model.trust_remote_code)
        )
        self._response_length = int(self.rollout_config.response_length)
        longest = int(self.rollout_config.prompt_length)
        if total := self.rollout_config.max_model_len:
            longest = min(longest, int(total) - self._response_length)
        self._prompt_length = longest

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> list[AgentLoopOutput]:
        """Play an episode of the game of a row.

        Args:
            sampling_params: of verl.
            kwargs: a row of :class:`~recipe.holderpo.alfworld.game_rows.GameRows`, with the prompt
                identifier ``uid`` and the number of the episode ``session_id``.

        Returns:
            One output per turn. None for an episode that failed or had no room for its first turn,
            where ``agent.failed_episodes`` is ``drop``; otherwise at least one, without tokens that
            would be trained on if there was no turn.
        """
        played = _Played(
            game=str(kwargs["game"]),
            task_type=str(kwargs["task_type"]),
            # A step's rollouts have the weights that the step before handed over.
            weights=int(kwargs["global_steps"]) - 1,
        )
        episode = self._group.episode(
            Path(kwargs["game_file"]),
            int(kwargs["index"]),
            max_steps=self._settings.max_steps,
        )
        name = f"prompt {kwargs['uid']}, episode {kwargs['session_id']}, game {played.game}"
        limit = asyncio.timeout(self._settings.episode_seconds)
        try:
            async with limit:
                played.outcome = await self._play(episode, played.turns, sampling_params)
        except TimeoutError:
            if not limit.expired():
                raise  # Something else has waited too long.
            _failed(played, name, f"not over after {self._settings.episode_seconds:g} s")
        except (EpisodeFailedError, NoTaskError) as error:
            _failed(played, name, str(error))
        finally:
            await episode.close()
        played.num_restarts = episode.num_restarts
        if played.outcome is not Outcome.FAILED and not played.turns:
            _failed(played, name, _why_without_turns(played.outcome, self._prompt_length))
        if played.outcome is Outcome.FAILED and self._settings.failed_episodes != ZERO:
            return []
        return self._outputs(played)

    async def _play(
        self, episode: GroupEpisode, turns: list[_Answered], sampling_params: dict[str, Any]
    ) -> Outcome:
        """Play to the end of the episode; each turn that was answered and stepped is added."""
        memory = AgentMemory(self._settings.prompt)
        template = self.apply_chat_template_kwargs
        turn = await episode.reset()
        while not turn.done:
            prompt = message_tokens(self.tokenizer, memory.message(turn), template)
            if len(prompt) > self._prompt_length:
                return Outcome.LENGTH
            began = monotonic()
            answered = await self._ask(turn, prompt, sampling_params)
            answered.generation_seconds = monotonic() - began
            memory.add(turn, answered.action.command)
            began = monotonic()
            turn = await episode.step(answered.action.command)
            answered.environment_seconds = monotonic() - began
            turns.append(answered)
        return Outcome.WON if turn.won else Outcome.STEP_LIMIT

    async def _ask(
        self, turn: Turn, prompt: list[int], sampling_params: dict[str, Any]
    ) -> _Answered:
        answer: TokenOutput = await self.server_manager.generate(
            request_id=uuid4().hex,
            prompt_ids=prompt,
            # Without it a short prompt would leave more room than a response may take.
            sampling_params=sampling_params | {"max_tokens": self._response_length},
        )
        if not answer.token_ids:
            raise EpisodeFailedError(f"the model's server gave no answer ({answer.stop_reason})")
        text = self.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
        return _Answered(
            observation=turn.observation,
            prompt=prompt,
            answer=answer,
            action=parse_action(text, turn.admissible, self._settings.actions),
            truncated=len(answer.token_ids) >= self._response_length
            and answer.token_ids[-1] not in self._end_tokens,
        )

    def _outputs(self, played: _Played) -> list[AgentLoopOutput]:
        """The rows of an episode."""
        rewards, penalties = self._worth(played)
        value = math.fsum(rewards) - math.fsum(penalties)
        episode = EpisodeFields(
            game=played.game,
            task_type=played.task_type,
            outcome=str(played.outcome),
            episode_return=value,
            num_turns=len(played.turns),
            num_restarts=played.num_restarts,
        )
        extra = {"acc": float(played.outcome is Outcome.WON)}
        if not played.turns:
            return [self._without_tokens(episode, extra, played.weights)]
        return [
            _output(turn, reward, penalty, episode, extra)
            for turn, reward, penalty in zip(played.turns, rewards, penalties, strict=True)
        ]

    def _worth(self, played: _Played) -> tuple[list[float], list[float]]:
        """Rewards and penalties of the turns; a failed episode has neither."""
        rewards, penalties = [0.0] * len(played.turns), [0.0] * len(played.turns)
        if played.outcome is not Outcome.FAILED:
            settings = self._settings.reward
            rewards[-1] = settings.episode_reward(played.outcome is Outcome.WON)
            penalties = [settings.turn_penalty(turn.action.kind) for turn in played.turns]
        return rewards, penalties

    def _without_tokens(
        self, episode: EpisodeFields, extra: dict[str, float], weights: int
    ) -> AgentLoopOutput:
        """A row that counts as an episode and is not trained on."""
        turn = TurnFields(anchor="", reward=0.0, penalty=0.0, kind="", truncated=False)
        return AgentLoopOutput(
            prompt_ids=[self.tokenizer.eos_token_id],
            response_ids=[self.tokenizer.eos_token_id],
            response_mask=[0],
            response_logprobs=[0.0] if self.rollout_config.calculate_log_probs else None,
            reward_score=0.0,
            num_turns=0,
            metrics=AgentLoopMetrics(),
            extra_fields={
                TURN_FIELD: turn.to_dict(),
                EPISODE_FIELD: episode.to_dict(),
                "reward_extra_info": extra,
                # verl's metrics count with them; of an answer its server says them.
                "min_global_steps": weights,
                "max_global_steps": weights,
            },
        )


def _output(
    turn: _Answered,
    reward: float,
    penalty: float,
    episode: EpisodeFields,
    extra: dict[str, float],
) -> AgentLoopOutput:
    answer = turn.answer
    fields = TurnFields(
        anchor=turn.observation,
        reward=reward,
        penalty=penalty,
        kind=str(turn.action.kind),
        truncated=turn.truncated,
    )
    return AgentLoopOutput(
        prompt_ids=turn.prompt,
        response_ids=answer.token_ids,
        response_mask=[1] * len(answer.token_ids),
        response_logprobs=answer.log_probs or None,
        routed_experts=answer.routed_experts,
        reward_score=episode.episode_return,
        num_turns=episode.num_turns,
        metrics=AgentLoopMetrics(
            generate_sequences=turn.generation_seconds,
            tool_calls=turn.environment_seconds,
            num_preempted=-1 if answer.num_preempted is None else answer.num_preempted,
        ),
        extra_fields=answer.extra_fields
        | {
            TURN_FIELD: fields.to_dict(),
            EPISODE_FIELD: episode.to_dict(),
            "reward_extra_info": dict(extra),
        },
    )


def _why_without_turns(outcome: Outcome, prompt_length: int) -> str:
    if outcome is Outcome.LENGTH:
        return f"its first prompt has more than {prompt_length} tokens"
    return "its goal holds before the first turn"


def _failed(played: _Played, name: str, reason: str) -> None:
    """Note that an episode says nothing about the agent; one line in the run's log."""
    played.outcome = Outcome.FAILED
    logger.warning("%s: failed after %d turns: %s", name, len(played.turns), reason)
