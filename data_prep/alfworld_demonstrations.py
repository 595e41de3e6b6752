"""Demonstrations of ALFWorld: what the expert says at each turn, on its own path and beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from holderpo.alfworld.agent_memory import AgentMemory
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.episode import Episode
from holderpo.alfworld.games import Manifest
from holderpo.alfworld.turn_prompt import TurnPromptSettings


@dataclass(frozen=True)
class DemonstrationSettings:
    """What is played."""

    episodes_per_game: int = 4
    """Each with random draws of its own."""
    wander: float = 0.2
    """Chance that any command is carried out in place of the expert's, which stays the label: the
    model sees how to go on from places where the expert would never be."""
    max_steps: int = 15
    """Of an episode."""
    seed: int = 0
    """Of expert and wandering."""

    def __post_init__(self) -> None:
        """Refuse what demonstrates nothing.

        Raises:
            ValueError: naming field, value and fix.
        """
        for name in ("episodes_per_game", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; give 1 or more")
        if not 0.0 <= self.wander < 1.0:
            raise ValueError(f"wander: {self.wander}; give 0 or more, below 1")


@dataclass(frozen=True)
class Demonstration:
    """One turn."""

    prompt: str
    """The user's message."""
    response: str
    """What the expert says, in the form that the strictest reading asks for."""


def response_of(command: str) -> str:
    """A response without a thought.

    Args:
        command: of the expert.

    Returns:
        A response that gives this command.
    """
    return f"<think></think><action>{command}</action>"


def play_demonstrations(
    manifest: Manifest,
    prompt: TurnPromptSettings,
    settings: DemonstrationSettings,
    *,
    cache_folder: Path | None = None,
) -> list[Demonstration]:
    """Let the expert play.

    Args:
        manifest: of the games.
        prompt: what the messages say.
        settings: how it plays.
        cache_folder: of the engine, for translated games.

    Returns:
        Each turn of each episode, in order of games; the same ones every time.
    """
    engine = Engine(facts=True, cache_folder=cache_folder)
    found: list[Demonstration] = []
    # No bar where the output is no terminal.
    for game in tqdm(manifest.games, desc="demonstrations", unit="game", disable=None):
        for index in range(settings.episodes_per_game):
            rng = random.Random(f"{settings.seed} {game.sha256} {index}")
            episode = Episode(
                manifest.file(game),
                max_steps=settings.max_steps,
                engine=engine,
                expert_seed=rng.getrandbits(32),
            )
            found += _turns(episode, prompt, settings.wander, rng)
    return found


def _turns(
    episode: Episode, prompt: TurnPromptSettings, wander: float, rng: random.Random
) -> Iterator[Demonstration]:
    turn = episode.reset()
    memory = AgentMemory(prompt)
    while not turn.done:
        assert turn.expert_action is not None, "the expert watches until the end"
        yield Demonstration(memory.message(turn), response_of(turn.expert_action))
        command = turn.expert_action
        if rng.random() < wander:
            command = rng.choice([other for other in turn.admissible if other != "help"])
        memory.add(turn, command)
        turn = episode.step(command)
