"""Rows of turns as verl keeps them: keys, tags and fields in a queue, here a dict."""

import copy
import random

import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from tests.holderpo.turn_samples import places_of, return_of

UIDS = ("a_1", "a_1_0", "pad_7", "d")


def key_of(place):
    """Of a turn; prompts may hold the separator, or look like padding."""
    game, episode, turn = place
    return f"{UIDS[game]}_{episode}_{turn}"


def extra_fields_of(games, place):
    """What the agent loop says of a turn."""
    game, episode, turn = place
    turns = games[game][episode]
    one = turns[turn]
    num_turns = 0 if one.get("is_failure") else len(turns)
    extra = {
        "episode": {
            "game": f"game {game}",
            "task_type": "pick",
            "outcome": "won" if turns[-1]["reward"] else "step_limit",
            "return": return_of(turns),
            "num_turns": num_turns,
            "num_restarts": 0,
        },
        "reward_extra_info": {"acc": float(turns[-1]["reward"] > 0)},
    }
    if num_turns:
        extra["turn"] = {
            "anchor": one["anchor"],
            "reward": one["reward"],
            "penalty": one["penalty"],
            "kind": "malformed" if one["penalty"] else "valid",
            "truncated": one.get("truncated", False),
        }
    return extra


class Queue:
    """Stands in for TransferQueue, whose storage needs Ray: the same calls, kept in a dict."""

    def __init__(self, monkeypatch):
        self.rows, self.tags = {}, {}
        monkeypatch.setattr(tq, "kv_batch_get", self.get)
        monkeypatch.setattr(tq, "kv_batch_put", self.put)

    def put(self, keys, partition_id, fields, tags=None):
        names = list(fields.keys())
        for number, key in enumerate(keys):
            row = fields[number]
            self.rows.setdefault(key, {}).update({name: row[name] for name in names})
        self.tags.update(zip(keys, tags or [self.tags[key] for key in keys], strict=True))
        return KVBatchMeta(keys, [self.tags[key] for key in keys], partition_id)

    def get(self, keys, partition_id, select_fields=None):
        names = select_fields or list(self.rows[keys[0]])
        return list_of_dict_to_tensordict(
            [
                {name: copy.deepcopy(self.rows[key][name]) for name in names}
                for key in keys
                if (names := [name for name in names if name in self.rows[key]])
            ]
        )

    def fill(self, games, seed=0):
        """Put every turn of the games into the queue; the score is the last turn's, as in verl."""
        rng = random.Random(seed)
        keys, rows, tags = [], [], []
        for place in places_of(games):
            game, episode, turn = place
            turns = games[game][episode]
            length, prompt = turns[turn].get("length", rng.randint(1, 4)), rng.randint(2, 5)
            mask = torch.zeros(max(length, 1), dtype=torch.int64)
            mask[:length] = 1
            scores = torch.zeros(len(mask))
            scores[-1] = return_of(turns)
            keys.append(key_of(place))
            ids = torch.ones(prompt + len(mask), dtype=torch.int64)
            rows.append(
                {
                    "uid": UIDS[game],
                    "prompts": ids[:prompt],
                    "responses": ids[prompt:],
                    "input_ids": ids,
                    "position_ids": torch.arange(len(ids)),
                    "response_mask": mask,
                    "rm_scores": scores,
                    "rollout_log_probs": torch.zeros(len(mask)),
                    "extra_fields": extra_fields_of(games, place),
                }
            )
            tags.append({"seq_len": len(ids), "prompt_len": prompt, "response_len": len(mask)})
        self.rows.update(zip(keys, rows, strict=True))
        self.tags.update(zip(keys, tags, strict=True))
        return KVBatchMeta(keys, tags, "train")
