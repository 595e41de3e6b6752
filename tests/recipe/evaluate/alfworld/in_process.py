"""The environments' group without Ray: the same episodes, in this process."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import contextmanager

from data_prep.tiny_model import ascii_tokenizer
from holderpo.alfworld.engine import Engine
from holderpo.alfworld.episode import Episode
from recipe.holderpo.alfworld.group_episode import EpisodeFailedError
from recipe.holderpo.evaluate.generation import Completion

CHAT = "<{% for message in messages %}{{ message['content'] }}{% endfor %}>"


class InProcessGroup:
    """Episodes of real games whose turns come at odd times; those of ``broken`` games fail."""

    def __init__(self, broken=(), fails_at=2, interrupt_after=None, seed=0):
        self.broken, self.fails_at, self.interrupt_after = broken, fails_at, interrupt_after
        self.engines = []
        self.open, self.most_open, self.num_steps = 0, 0, 0
        self.prepared, self.played = [], Counter()
        self.waits = random.Random(seed)

    def episode(self, game_file, key, *, max_steps, expert_seed=None):
        return InProcessEpisode(self, game_file, max_steps, expert_seed)

    async def prepare(self, game_file, key):
        self.prepared.append(game_file)

    async def metrics(self):
        return {"env/step_count": float(self.num_steps)}

    async def wait(self):
        for _ in range(self.waits.randrange(6)):
            await asyncio.sleep(0)


class InProcessEpisode:
    def __init__(self, group, game_file, max_steps, expert_seed):
        self.group, self.game_file, self.num_restarts = group, game_file, 0
        group.open += 1
        group.most_open = max(group.most_open, group.open)
        group.played[game_file] += 1
        self.engine = group.engines.pop() if group.engines else Engine(facts=True)
        self.episode = Episode(
            game_file, max_steps=max_steps, engine=self.engine, expert_seed=expert_seed
        )

    async def reset(self):
        await self.group.wait()
        return self.episode.reset()

    async def step(self, action):
        await self.group.wait()
        self.group.num_steps += 1
        if self.group.num_steps == self.group.interrupt_after:
            signal.raise_signal(signal.SIGINT)
        if self.game_file in self.group.broken and self.episode.num_steps == self.group.fails_at:
            self.num_restarts = 2
            raise EpisodeFailedError(f"{self.game_file}: no answer")
        return self.episode.step(action)

    async def close(self):
        self.group.open -= 1
        self.group.engines.append(self.engine)


class Scripted:
    """Answers for a model: the same to the same prompt and seed, however many are asked."""

    def __init__(self, answer=None):
        self.requests, self.closed = [], False
        self.answer_to = answer or some_command

    async def answer(self, request):
        number = len(self.requests)
        self.requests.append(request)
        for _ in range(number % 4):
            await asyncio.sleep(0)
        prompt = ascii_tokenizer().decode(request.prompt)
        response = self.answer_to(prompt, request)
        cut = len(response) > request.max_tokens
        response = response[: request.max_tokens]
        return Completion(number, response, "length" if cut else "stop", len(response))

    def close(self):
        self.closed = True


def commands_of(prompt):
    """The commands that a prompt lists."""
    return [line[2:] for line in prompt.splitlines() if line.startswith("- ")]


def some_command(prompt, request):
    """One that the prompt lists, or now and then something else; by prompt and seed alone."""
    draws = random.Random(f"{prompt}{request.seed}")
    choice = draws.random()
    if choice < 0.1:
        return "I do not know."
    command = "dance" if choice < 0.2 else draws.choice(commands_of(prompt))
    return f"<think>hm</think><action>{command}</action>"


def tokenizer():
    """A character each, with a chat template."""
    made = ascii_tokenizer()
    made.chat_template = CHAT
    return made


@contextmanager
def given(thing):
    """As what a context manager gives."""
    yield thing
