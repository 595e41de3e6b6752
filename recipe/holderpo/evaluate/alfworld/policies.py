"""Who plays: a model, ALFWorld's expert, or chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from holderpo.alfworld.actions import ActionKind, parse_action
from holderpo.alfworld.agent_memory import AgentMemory, message_tokens
from holderpo.alfworld.random_policy import RandomPolicy
from holderpo.alfworld.turns import Turn
from holderpo.benchmarks.panels import Sampling
from holderpo.benchmarks.records import TRUNCATED
from recipe.holderpo.evaluate.alfworld.turn_texts import TurnTexts
from recipe.holderpo.evaluate.alfworld.wanted_episodes import WantedEpisode
from recipe.holderpo.evaluate.generation import Completion, Request

RANDOM, EXPERT = "random", "expert"


class Move(NamedTuple):
    """What is done in a turn."""

    command: str
    """To send."""
    kind: ActionKind = ActionKind.VALID
    why: str = ""
    """Why it is not valid, or how it was understood."""
    response: str | None = None
    """What a model wrote."""
    truncated: bool = False
    """Whether that was cut off."""


class Player(Protocol):
    """Plays one episode."""

    async def move(self, turn: Turn) -> Move | None:
        """What to do now; None if there is no room left for the turn."""


class Policy(Protocol):
    """Plays any number of episodes at a time."""

    def expert_seed(self, wanted: WantedEpisode) -> int | None:
        """Of the expert that the environment asks; None asks none."""

    def player(self, wanted: WantedEpisode) -> Player:
        """For one episode."""


@dataclass(frozen=True)
class Chance:
    """Any admissible command."""

    seed: int
    """Of the evaluation."""

    def expert_seed(self, wanted: WantedEpisode) -> None:
        """There is no expert."""

    def player(self, wanted: WantedEpisode) -> Player:
        """With draws of its own."""
        return _ByChance(RandomPolicy(self.seed, wanted.game.sha256, wanted.pass_number))


@dataclass(frozen=True)
class _ByChance:
    draws: RandomPolicy

    async def move(self, turn: Turn) -> Move:
        return Move(self.draws.choose(turn.admissible))


@dataclass(frozen=True)
class FollowExpert:
    """What the expert says."""

    seed: int
    """Of the evaluation."""

    def expert_seed(self, wanted: WantedEpisode) -> int:
        """Of each episode its own."""
        return wanted.seed(self.seed)

    def player(self, wanted: WantedEpisode) -> Player:
        """The same for all."""
        return _ByExpert()


class _ByExpert:
    async def move(self, turn: Turn) -> Move:
        assert turn.expert_action is not None, "the environment was asked for the expert"
        return Move(turn.expert_action)


class Answers(Protocol):
    """Whoever answers for a model."""

    async def answer(self, request: Request) -> Completion:
        """One answer."""


@dataclass(frozen=True)
class AskModel:
    """What a model answers."""

    seed: int
    """Of the evaluation."""
    answers: Answers
    """Of the model."""
    tokenizer: Any
    """From transformers, with a chat template."""
    sampling: Sampling
    """How answers are drawn, and how long they may be."""
    context: int
    """Longest prompt plus answer, tokens."""
    texts: TurnTexts
    """What it is told, and how its answers are read."""

    def expert_seed(self, wanted: WantedEpisode) -> None:
        """There is no expert."""

    def player(self, wanted: WantedEpisode) -> Player:
        """With a history of its own."""
        return _ByModel(self, wanted, AgentMemory(self.texts.prompts))


@dataclass
class _ByModel:
    policy: AskModel
    wanted: WantedEpisode
    memory: AgentMemory

    async def move(self, turn: Turn) -> Move | None:
        policy, number = self.policy, self.memory.num_steps + 1
        prompt = message_tokens(
            policy.tokenizer, self.memory.message(turn), policy.texts.chat_template
        )
        if len(prompt) + policy.sampling.max_tokens > policy.context:
            return None
        request = Request(
            prompt=prompt,
            sampling=policy.sampling,
            seed=None if policy.sampling.greedy else self.wanted.seed(policy.seed, number),
            max_tokens=policy.sampling.max_tokens,
            stop=(),
        )
        completion = await policy.answers.answer(request)
        action = parse_action(completion.response, turn.admissible, policy.texts.actions)
        self.memory.add(turn, action.command)
        return Move(
            command=action.command,
            kind=action.kind,
            why=action.reason,
            response=completion.response,
            truncated=completion.finish_reason == TRUNCATED,
        )
