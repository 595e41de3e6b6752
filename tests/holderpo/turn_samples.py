"""Random episodes, their rows in any order, and GiGPO's advantages in plain loops over floats."""

import random
import statistics

import torch

from holderpo.turn_advantage import TurnBatch

EPSILON = 1e-6


def random_games(seed, num_games=4, num_episodes=6, max_turns=9):
    """Games, each a list of episodes, each a list of turns: observation, reward and penalty."""
    rng = random.Random(seed)

    def episode():
        turns = [
            {
                "anchor": f"You see thing {rng.randrange(4)}.",
                "reward": 0.0,
                "penalty": rng.choice([0.0, 0.0, 0.1, 0.25]),
            }
            for _ in range(rng.randint(1, max_turns))
        ]
        turns[-1]["reward"] = rng.choice([0.0, 10.0])
        if rng.random() < 0.3:
            rng.choice(turns)["reward"] += 1.0
        return turns

    return [[episode() for _ in range(num_episodes)] for _ in range(num_games)]


def places_of(games):
    """Game, episode and turn of each row, in order."""
    return [
        (game, episode, turn)
        for game, episodes in enumerate(games)
        for episode, turns in enumerate(episodes)
        for turn in range(len(turns))
    ]


def turn_batch_of(games, places=None, **changes):
    """The rows at ``places``, in that order."""
    places = places or places_of(games)
    turns = [games[game][episode][turn] for game, episode, turn in places]
    values = {
        "groups": torch.tensor([game for game, _, _ in places]),
        "episodes": torch.tensor([1000 * game + 7 * episode for game, episode, _ in places]),
        "turns": torch.tensor([turn for _, _, turn in places]),
        "episode_returns": torch.tensor(
            [return_of(games[game][episode]) for game, episode, _ in places], dtype=torch.double
        ),
        "rewards": torch.tensor([turn["reward"] for turn in turns], dtype=torch.double),
        "penalties": torch.tensor([turn["penalty"] for turn in turns], dtype=torch.double),
        "anchors": [turn["anchor"] for turn in turns],
        "lengths_tokens": torch.tensor([turn.get("length", 3) for turn in turns]),
        "max_response_tokens": 5,
    }
    return TurnBatch(**{**values, **changes})


def return_of(episode):
    return sum(turn["reward"] for turn in episode) - sum(turn["penalty"] for turn in episode)


def normalised(values, by_std):
    """Each value relative to the others of its group; 0 if there is nothing to compare."""
    if len({round(value, 9) for value in values}) == 1:
        return [0.0] * len(values)
    mean = sum(values) / len(values)
    scale = statistics.stdev(values) + EPSILON if by_std else 1.0
    return [(value - mean) / scale for value in values]


def episode_part_of_the_paper(episodes, by_std):
    """Each episode once: its return among those of the group, for all of its turns."""
    relative = normalised([return_of(episode) for episode in episodes], by_std)
    return {
        (number, turn): relative[number]
        for number, episode in enumerate(episodes)
        for turn in range(len(episode))
    }


def episode_part_of_the_code(episodes, by_std):
    """Each row: the episode's reward minus its own penalty, among all rows of the group."""
    values = {
        (number, turn): sum(one["reward"] for one in episode) - episode[turn]["penalty"]
        for number, episode in enumerate(episodes)
        for turn in range(len(episode))
    }
    return dict(zip(values, normalised(list(values.values()), by_std), strict=True))


def step_part(episodes, discount, by_std):
    """Each turn: its discounted return minus its penalty, among those at the same observation."""
    members = {}
    for number, episode in enumerate(episodes):
        for turn, one in enumerate(episode):
            value = -one["penalty"]
            for later in range(turn, len(episode)):
                value += discount ** (later - turn) * episode[later]["reward"]
            members.setdefault(one["anchor"], {})[number, turn] = value
    relative = {}
    for group in members.values():
        relative |= dict(zip(group, normalised(list(group.values()), by_std), strict=True))
    return relative


def gigpo(games, episode_part, *, weight, discount, by_std):
    """The advantage of each row, in the order of :func:`places_of`."""
    advantages = []
    for episodes in games:
        whole = episode_part(episodes, by_std)
        by_step = step_part(episodes, discount, by_std)
        advantages += [whole[place] + weight * by_step[place] for place in whole]
    return advantages


# Of each unit of the advantage.
REFERENCES = {"episode": episode_part_of_the_paper, "turn": episode_part_of_the_code}
