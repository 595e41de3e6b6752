"""One recorded round through the trainer's update and verl's FSDP actor; run by test_real_actor.py.

One process, gloo, a tiny Qwen2. Of the trainer only what surrounds the update is there; a stand-in
for the worker group puts the batch's extra information into its data, as verl's TransferQueue does.
Prints one line of JSON: question, answer.
"""

import copy
import json
import math
import os
import sys
import threading
from pathlib import Path

os.environ |= {"VERL_PLATFORM": "cpu", "TORCHDYNAMO_DISABLE": "1"}
os.environ |= {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}

import torch
from transfer_queue import KVBatchMeta
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from data_prep.tiny_model import VOCABULARY_SIZE, save, tiny_qwen2
from holderpo.control.controllers import OpenLoopController, SignMatchedController
from holderpo.control.order import UniformOrder
from holderpo.control.schedule import Constant
from recipe.holderpo.policy_loss import ORDER_KEY, compute_policy_loss_holder
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.sections import take_stand_ins_away
from recipe.holderpo.trainer import HolderTrainerSync
from tests.recipe.composing import composed

NUM_ROWS, PROMPT, RESPONSE = 8, 3, 5
LENGTHS = (5, 3, 4, 5, 2, 5, 4, 5)
ADVANTAGES = (1.0, -0.6, 0.5, -0.4, 0.7, -1.7, 0.2, -1.2)
DROPPED = "dropped"


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


class Round:
    """A recorded round, and the actor that can always begin it anew."""

    def __init__(self, folder, overrides=()):
        torch.manual_seed(0)
        save(folder, tiny_qwen2(max_tokens=16, hidden_size=32, intermediate_size=32, num_layers=1))
        actor = "actor_rollout_ref.actor"
        self.config = composed(
            "demo",
            [
                f"actor_rollout_ref.model.path={folder}",
                *("data.train_batch_size=4", "actor_rollout_ref.rollout.n=2"),
                *(f"{actor}.ppo_mini_batch_size=2", f"{actor}.ppo_micro_batch_size_per_gpu=2"),
                *(f"{actor}.optim.lr=0.003", f"{actor}.optim.lr_scheduler_type=constant"),
                "stop_after_skipped_rounds=2",
                *overrides,
            ],
        )
        take_stand_ins_away(self.config)
        settings = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        settings.engine.use_dynamic_bsz = False
        settings.engine.micro_batch_size_per_gpu = 2
        settings.engine.infer_micro_batch_size_per_gpu = NUM_ROWS
        self.worker = TrainingWorker(
            TrainingWorkerConfig(
                model_type="language_model",
                model_config=omega_conf_to_dataclass(self.config.actor_rollout_ref.model),
                engine_config=settings.engine,
                optimizer_config=settings.optim,
                checkpoint_config=settings.checkpoint,
            )
        )
        self.worker.reset()
        self.start = copy.deepcopy(self.worker.engine.module.state_dict())
        self.columns = self._record()

    def _record(self):
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(
            2, VOCABULARY_SIZE, (NUM_ROWS, PROMPT + RESPONSE), generator=generator
        )
        whole = [row[: PROMPT + length] for row, length in zip(tokens, LENGTHS, strict=True)]
        columns = {
            "input_ids": jagged(whole),
            "position_ids": jagged(torch.arange(len(row)) for row in whole),
            "attention_mask": jagged(torch.ones_like(row) for row in whole),
            "loss_mask": jagged((torch.arange(len(row)) >= PROMPT).long() for row in whole),
            "prompts": jagged(row[:PROMPT] for row in whole),
            "responses": jagged(row[PROMPT:] for row in whole),
            "response_mask": jagged(torch.ones_like(row[PROMPT:]) for row in whole),
            "advantages": jagged(
                torch.full((length,), value)
                for value, length in zip(ADVANTAGES, LENGTHS, strict=True)
            ),
        }
        data = tu.get_tensordict(
            dict(columns), {"temperature": 1.0, "calculate_entropy": False, "compute_loss": False}
        )
        log_probs = self.worker.infer_batch(data)["log_probs"]
        # Shifted by one: position t holds that of token t + 1.
        columns["old_log_probs"] = jagged(row[PROMPT - 1 : -1] for row in log_probs.unbind())
        return columns

    def begin(self):
        engine = self.worker.engine
        engine.module.load_state_dict(copy.deepcopy(self.start))
        engine.optimizer.state.clear()


class Workers:
    """Stands in for verl's group of workers: one, in this process."""

    def __init__(self, a_round, changes=(), columns=None, keep_loss=False):
        self.round, self.changes, self.keep_loss = a_round, dict(changes), keep_loss
        self.columns = columns or {}
        self.outputs = []

    def set_loss_fn(self, loss):
        own = loss.config
        self.round.worker.set_loss_fn(
            (lambda **call: ppo_loss(own, **call)) if self.keep_loss else loss
        )

    def update_actor(self, batch):
        extra = {**batch.extra_info, **self.changes}
        extra = {name: value for name, value in extra.items() if value != DROPPED}
        data = tu.get_tensordict({**self.round.columns, **self.columns}, extra)
        output = self.round.worker.train_mini_batch(data)
        self.outputs.append(copy.deepcopy(output["metrics"]))
        return output


def controller(order):
    if isinstance(order, dict):
        return SignMatchedController({name: controller(one) for name, one in order.items()})
    return OpenLoopController(Constant(value=order))


def trainer_of(a_round, order, workers, loss_mode="holder"):
    trainer = HolderTrainerSync.__new__(HolderTrainerSync)
    trainer.config = a_round.config
    a_round.config.actor_rollout_ref.actor.policy_loss.loss_mode = loss_mode
    trainer.controller = controller(order)
    trainer.actor_rollout_wg = workers
    trainer.on_first_update = lambda: None
    trainer.progress = Progress()
    trainer.global_steps = 1
    trainer.on_train_begin()
    return trainer


def update(trainer):
    metrics = {}
    batch = KVBatchMeta(keys=[], tags=[], partition_id="train", fields=[], extra_info={})
    trainer._update_actor(batch, metrics)
    trainer.global_steps += 1
    return metrics


def metrics_of(a_round, order, *, rounds=1, loss_mode="holder", **workers):
    """Per round: what is logged, with the loss of every update; or the error that ended it."""
    a_round.begin()
    group = Workers(a_round, **workers)
    trainer = trainer_of(a_round, order, group, loss_mode)
    shown = []
    for _ in range(rounds):
        try:
            metrics = update(trainer)
        except Exception as error:
            shown.append({"error": f"{type(error).__name__}: {error}"})
            break
        shown.append(
            {name: float(value) for name, value in metrics.items() if not name.startswith("perf/")}
        )
        shown[-1]["losses"] = group.outputs[-1]["loss"]
    return shown


def in_a_thread(**arguments):
    """The loss computed where the hook's call is not seen."""
    found = []
    thread = threading.Thread(
        target=lambda: found.append(_outcome(compute_policy_loss_holder, arguments))
    )
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _outcome(function, arguments):
    try:
        return function(**arguments)
    except Exception as error:
        return error


def broken(columns, row):
    """Old log-probabilities with a NaN in one response."""
    rows = [one.clone() for one in columns["old_log_probs"].unbind()]
    rows[row][0] = math.nan
    return {"old_log_probs": jagged(rows)}


def of_padding(columns):
    return {
        "response_mask": jagged(torch.zeros_like(one) for one in columns["response_mask"].unbind())
    }


def main():
    a_round = Round(Path(sys.argv[1]))
    by_sign = {"positive": -2.0, "negative": 2.0}
    nan = broken(a_round.columns, row=5)
    found = {
        "up": metrics_of(a_round, 2.0),
        "down": metrics_of(a_round, -2.0),
        "by sign": metrics_of(a_round, by_sign),
        "padding": metrics_of(a_round, 2.0, columns=of_padding(a_round.columns)),
        "dropped": metrics_of(a_round, 2.0, changes={ORDER_KEY: DROPPED}),
        "changed": metrics_of(a_round, by_sign, changes={ORDER_KEY: UniformOrder(2.0)}),
        "verls loss": metrics_of(a_round, 2.0, keep_loss=True),
        "NaN": metrics_of(a_round, 2.0, columns=nan, rounds=3),
        "NaN in another loss": metrics_of(a_round, 2.0, columns=nan, loss_mode="gspo"),
    }
    core_algos.POLICY_LOSS_REGISTRY["holder"] = in_a_thread
    found["in a thread"] = metrics_of(a_round, 2.0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
