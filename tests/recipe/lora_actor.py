"""Adapters in verl's FSDP actor, one rank of one or two; run by test_lora_actor.py.

Writes what the actor sends to vLLM, its log-probabilities and a checkpoint; the first rank prints
one line of JSON: question, answer.
"""

import json
import os
import sys
from pathlib import Path

import torch
from verl.utils import tensordict_utils as tu

from tests.recipe.real_actor import Round, Workers, trainer_of, update

ADAPTERS = (
    "actor_rollout_ref.model.lora_rank=3",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
)


def log_probs(a_round, **extra):
    """Of the recorded round's tokens."""
    told = {"temperature": 1.0, "calculate_entropy": False, "compute_loss": False, **extra}
    data = tu.get_tensordict(dict(a_round.columns), told)
    return a_round.worker.infer_batch(data)["log_probs"].values().clone()


def put_away(module):
    """Let the weights be the ranks' parts, as after an update; those gathered are copies."""
    for one in module.modules():
        if hasattr(one, "reshard"):
            one.reshard()


def whole(parameters):
    """Copies of weights, put together from all ranks."""
    return {
        name: (one.full_tensor() if hasattr(one, "full_tensor") else one).detach().clone()
        for name, one in parameters
    }


def difference(one, other):
    return float((one - other).abs().max())


def moved(before, after):
    return sorted(name for name in before if not torch.equal(before[name], after[name]))


def trained(a_round, *, reference_first):
    """Names of the weights that a round changes, read with or without the adapters before."""
    engine = a_round.worker.engine
    a_round.begin()
    put_away(engine.module)
    before = whole(engine.module.named_parameters())
    if reference_first:
        log_probs(a_round, no_lora_adapter=True)
    update(trainer_of(a_round, 2.0, Workers(a_round)))
    put_away(engine.module)
    return moved(before, whole(engine.module.named_parameters()))


def turn_on(module, rank):
    """Adapters of some size, as after training; fresh ones add nothing."""
    put_away(module)
    torch.manual_seed(rank)
    for name, weight in module.named_parameters():
        if "lora_B" in name:
            local = weight.to_local() if hasattr(weight, "to_local") else weight
            local.data.normal_(std=0.2)


def sent(engine, *, merge):
    """What goes to vLLM: weights beneath, then adapters with their settings, or all in one."""
    engine.model_config.lora["merge"] = merge
    if merge:
        weights, settings = engine.get_per_tensor_param(base_sync_done=True)
        return whole(weights), None
    beneath, _ = engine.get_per_tensor_param(base_sync_done=False)
    adapters, settings = engine.get_per_tensor_param(base_sync_done=True)
    return whole(beneath), whole(adapters), settings


def main():
    folder, size, rank = Path(sys.argv[1]), *map(int, sys.argv[2:4])
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank)}
    a_round = Round(folder / f"model_{rank}", [*ADAPTERS, *sys.argv[4:]])
    engine, found = a_round.worker.engine, {}
    if size == 1:
        found["trained"] = trained(a_round, reference_first=False)
        found["trained after the reference"] = trained(a_round, reference_first=True)
        a_round.begin()
    fresh = log_probs(a_round)
    turn_on(engine.module, rank)
    policy = log_probs(a_round)
    found["moved"] = difference(policy, fresh)
    reference = log_probs(a_round, no_lora_adapter=True)
    found["reference"] = difference(reference, fresh)
    found["after the reference"] = difference(log_probs(a_round), policy)
    put_away(engine.module)
    weights = whole(engine.module.named_parameters())
    parts = {"merged": sent(engine, merge=True), "apart": sent(engine, merge=False)}
    found["changed by sending"] = moved(weights, whole(engine.module.named_parameters()))
    a_round.worker.save_checkpoint(str(folder / "actor"))
    turn_on(engine.module, rank + 7)
    found["before resuming"] = difference(log_probs(a_round), policy)
    a_round.worker.load_checkpoint(str(folder / "actor"))
    found["resumed"] = difference(log_probs(a_round), policy)
    if rank == 0:
        columns = {"input_ids": a_round.columns["input_ids"].values()}
        columns["offsets"] = a_round.columns["input_ids"].offsets()
        torch.save({**parts, **columns, "policy": policy}, folder / "found.pt")
        print(json.dumps(found))


if __name__ == "__main__":
    main()
