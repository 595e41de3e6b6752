"""The rows of training and validation: which game each group of episodes plays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch.utils.data import Dataset

from holderpo.alfworld.game_sample import evenly
from holderpo.alfworld.games import Game, Manifest, read_manifest
from holderpo.alfworld.held_out_games import panel_name, source_name
from holderpo.alfworld.task_sequence import TaskSequence
from holderpo.alfworld.tasks import TASK_TYPES

AGENT_LOOP = "alfworld"
"""Name of the agent loop that plays a row's game, in verl's registry."""
# A run takes as many rows as it has rounds; the sequence never ends.
_ENDLESS = 10**12


def manifest_paths(files: str | Sequence[str]) -> list[Path]:
    """The manifests of ``data.train_files`` or ``data.val_files``, which may be one or several."""
    listed = files if isinstance(files, list | tuple | ListConfig) else [files]
    return [Path(str(file)).expanduser() for file in listed]


def used_games(manifest: Sequence[Game], max_samples: int) -> list[Game]:
    """The games that are played.

    Args:
        manifest: all games.
        max_samples: at most so many, as many of each task type as there are; -1 or 0 for all.

    Returns:
        The games, in their order.
    """
    return evenly(manifest, max_samples) if max_samples > 0 else list(manifest)


def refuse_mixed(manifests: Sequence[Manifest]) -> None:
    """Success in games of two manifests must not go under one name.

    Args:
        manifests: of the validation.

    Raises:
        ValueError: for two of one split.
    """
    named = Counter(one.split for one in manifests)
    if twice := [split for split, count in named.items() if count > 1]:
        raise ValueError(
            f"data.val_files: several manifests of the split {twice[0]}; give one, as metrics are "
            "named by the split"
        )


class GameRows(Dataset[dict[str, Any]]):
    """Games as rows of verl, for ``data.custom_cls``.

    In training, row i is group ``i % train_batch_size`` of round ``i // train_batch_size`` and its
    game follows from seed, round and group alone (:class:`TaskSequence`), for ever: read in order,
    a resumed run goes on with the games that it would have had. In validation each game of the
    manifests comes once, in their order.

    **Source**: what a row holds is what ``verl.utils.dataset.rl_dataset.RLHFDataset`` gives.
    """

    def __init__(
        self,
        data_files: str | Sequence[str],
        config: DictConfig,
        max_samples: int = -1,
        **others: Any,
    ) -> None:
        """Read the manifests and compare their games with them.

        Args:
            data_files: ``data.train_files`` or ``data.val_files``: manifests of
                ``python -m data_prep.alfworld``.
            config: the section ``data``.
            max_samples: play at most so many games, as many of each task type as there are.
            others: tokenizer and processor, which no row needs.

        Raises:
            ValueError: for manifests or games that are not as they should be, and settings with
                which the games would not come in the sequence's order.
        """
        paths = manifest_paths(data_files)
        is_training = paths == manifest_paths(config.train_files)
        if is_training and paths == manifest_paths(config.val_files):
            raise ValueError(
                f"data.val_files: {', '.join(map(str, paths))}, as data.train_files; give games "
                "that are not trained on"
            )
        manifests = [read_manifest(path) for path in paths]
        if not is_training:
            refuse_mixed(manifests)
        self._files = {game: str(one.file(game)) for one in manifests for game in one.games}
        listed = [game for one in manifests for game in one.games]
        self._games = used_games(listed, max_samples)
        used, all_games = (Counter(g.split for g in one) for one in (self._games, listed))
        self._names = {name: panel_name(name, used[name], all_games[name]) for name in all_games}
        self._sequence: TaskSequence | None = None
        if is_training:
            if config.shuffle:
                raise ValueError("data.shuffle: true; the games have an order already, give false")
            self._groups_per_step = int(config.train_batch_size)
            self._sequence = TaskSequence(self._games, int(config.seed), self._groups_per_step)

    def __len__(self) -> int:
        """Number of held-out games; of training's rows, of which there is no end, a large one."""
        return len(self._games) if self._sequence is None else _ENDLESS

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row of one group of episodes.

        Args:
            index: from 0.

        Returns:
            Fields for verl and the agent loop.

        Raises:
            IndexError: beyond the last one.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        game = self._game(index)
        facts = {"game": game.path, "task_type": TASK_TYPES[game.task_type]}
        return {
            # verl wants a prompt of each row; the agent loop writes one for each turn.
            "raw_prompt": [{"role": "user", "content": f"{facts['task_type']}: {game.path}"}],
            "index": index,
            "data_source": source_name(self._names[game.split], facts["task_type"]),
            # No answer is compared with it: it names the game where verl writes rollouts down.
            "reward_model": {"style": "environment", "ground_truth": game.path},
            "extra_info": {"index": index, "split": game.split, "scene": game.scene, **facts},
            "agent_name": AGENT_LOOP,
            "game_file": self._files[game],
            **facts,
            # verl's batches need a tensor.
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
        }

    def _game(self, index: int) -> Game:
        if self._sequence is None:
            return self._games[index]
        return self._sequence.game(*divmod(index, self._groups_per_step))
