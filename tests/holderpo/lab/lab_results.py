"""A small protocol, and results of it that are not run."""

import math
from dataclasses import replace

from holderpo.lab.cell_results import CellResult
from holderpo.lab.protocol import read_protocol

CONSTANT = "{_target_: holderpo.control.schedule.Constant, value: %s}"
PROTOCOL = f"""
tasks: {{columns: {{_target_: somewhere.Task}}, wide: {{_target_: somewhere.Task, width: 2}}}}
regimes: {{middle: {{learning_rate: 2.0e-4}}, stressed: {{learning_rate: 4.0e-4}}}}
arms:
  static0: {{p: {CONSTANT % "0.0"}}}
  static2: {{p: {CONSTANT % "2.0"}}}
  linear: {{p: {{_target_: holderpo.control.schedule.Annealing, start: 2.0, end: -2.0}}}}
  linear_asc: {{p: {{_target_: holderpo.control.schedule.Annealing, start: -2.0, end: 2.0}}}}
  linear_4: {{p: {{_target_: holderpo.control.schedule.Annealing, start: 4.0, end: -2.0}}}}
  # A sequence clip of its own, as GSPO's.
  narrow: {{clip_low: 3.0e-4, clip_high: 4.0e-4, p: {CONSTANT % "0.0"}}}
  sign_matched:
    p:
      _target_: holderpo.control.rules.SignMatched
      positive: {CONSTANT % "-2.0"}
      negative: {CONSTANT % "2.0"}
  grpo: {{clip_level: token, p: {CONSTANT % "1.0"}}}
  geometric: {{clip_level: token, p: {CONSTANT % "0.0"}}}
  shuffled: {{shuffled_reward: true, p: {CONSTANT % "1.0"}}}
  own: {{loss: somewhere.loss, p: {CONSTANT % "1.0"}}}
parts:
"""
PART = """
  orders:
    what: which order
    arms: [static0, static2, linear, grpo]
    regimes: [middle]
    seeds: [0, 1, 2]
    model_seeds: [0, 1]
"""


def plan_of(folder, parts=PART):
    """The protocol with some parts."""
    path = folder / "protocol.yaml"
    path.write_text(PROTOCOL + parts)
    return read_protocol(path)


def result_of(cell, rewards, *, part="orders", held_out=0.5, seconds=36.0, **more):
    """A line of a run with these rewards, a number for each round."""
    curves = {"reward": rewards, "entropy": [0.1] * len(rewards), "grad_norm": [2.0] * len(rewards)}
    windows = {
        name: {"reward": math.fsum(values) / len(values), "clip_frac": 0.25, **more}
        for name, values in (("all", rewards), ("first8", rewards[:8]), ("last8", rewards[-8:]))
    }
    return CellResult(
        digest=cell.digest,
        part=part,
        task=cell.task,
        regime=cell.regime.name,
        arm=cell.arm.name,
        seed=cell.seed,
        model_seed=cell.model_seed,
        curves=curves,
        windows=windows,
        held_out_before=0.25,
        held_out_after=held_out,
        seconds=seconds,
        settings={},
        versions={"torch": "2", "commit": "abc"},
    )


def results_of(plan, aucs, part="orders", *, regime="middle"):
    """A result for each number that is there: by arm, then by (seed, seed of the model)."""
    return [
        result_of(cell, [aucs[cell.arm.name][cell.seed, cell.model_seed]] * 16, part=part)
        for cell in plan.parts[part]
        if cell.regime.name == regime
        and (cell.seed, cell.model_seed) in aucs.get(cell.arm.name, {})
    ]


def again(result, rewards):
    """The same cell, run once more."""
    auc = math.fsum(rewards) / len(rewards)
    windows = {**result.windows, "all": {**result.windows["all"], "reward": auc}}
    return replace(result, curves={"reward": rewards}, windows=windows, seconds=1.0)
