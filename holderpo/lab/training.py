"""One run: rounds of rollouts and updates in one process, with the recipe's own objective.

Shapes: ``B`` responses, ``T`` response tokens.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holderpo.advantage import group_relative_advantage
from holderpo.control import Controller, RoundStatistics, build_controller
from holderpo.diagnostics import describe_rows, second_moment
from holderpo.dotted import load_callable
from holderpo.lab.sampler import Responses, log_probs_of, sample
from holderpo.lab.settings import ArmSettings, Cell
from holderpo.lab.task import HELD_OUT, TRAIN, LabTask, Problems, build_task
from holderpo.metrics import PREFIX
from holderpo.objective import Statistics, clipped_surrogate, token_bounds
from holderpo.power_mean import TokenBounds

NUM_HELD_OUT = 512


@dataclass(frozen=True)
class RunRecord:
    """What a run has left: one number a round for each name, and its ends."""

    curves: Mapping[str, list[float]]
    """By name; ``reward``, ``entropy`` (nats), ``grad_norm``, ``p``, ``ess_frac``, ..."""
    held_out_before: float
    """Share of right greedy answers to held-out problems before the first round."""
    held_out_after: float
    """And after the last."""
    seconds: float
    """Of the run, the start of the model left out."""


def run_cell(
    cell: Cell,
    models: Path,
    *,
    device: str = "cpu",
    on_round: Callable[[int, Mapping[str, float]], None] | None = None,
) -> RunRecord:
    """Train from the warm start to the last round.

    Args:
        cell: the run.
        models: folder of the models to start from.
        device: of torch.
        on_round: called with the number of each round, from 1, and its numbers.

    Returns:
        What was measured.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_flush_denormal(True)
    task = build_task(cell.task)
    folder = task.ensure_model(models, cell.model_seed)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    began = time.perf_counter()
    run = _Run(cell, task, model, device)
    before = run.held_out_accuracy()
    curves: dict[str, list[float]] = defaultdict(list)
    for number in range(cell.regime.num_rounds):
        numbers = run.round(number)
        for name, value in numbers.items():
            curves[name].append(value)
        if on_round is not None:
            on_round(number + 1, numbers)
    return RunRecord(
        curves=dict(curves),
        held_out_before=before,
        held_out_after=run.held_out_accuracy(),
        seconds=time.perf_counter() - began,
    )


class _Run:
    """The state of a run between its rounds."""

    def __init__(self, cell: Cell, task: LabTask, model: Any, device: str) -> None:
        self.cell, self.task, self.model, self.device = cell, task, model, device
        regime = cell.regime
        self.controller: Controller = build_controller(cell.arm.p, num_rounds=regime.num_rounds)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=regime.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        # Streams of their own, so that no arm shifts another's problems.
        seeds = np.random.SeedSequence([cell.seed, cell.model_seed]).spawn(3)
        self.problems_rng, self.shuffle_rng = map(np.random.default_rng, seeds[:2])
        self.generator = torch.Generator(device).manual_seed(int(seeds[2].generate_state(1)[0]))

    def round(self, number: int) -> dict[str, float]:
        """Rollouts and updates of a round, the first being 0."""
        regime, arm = self.cell.regime, self.cell.arm
        problems = self._draw(TRAIN, regime.num_prompts, self.problems_rng)
        asked = problems.repeat(regime.group_size)
        responses = self._sample(asked.prompts, self.generator)
        rewards_B = self.task.score(asked, responses.tokens)
        groups_B = torch.arange(len(rewards_B)) // regime.group_size
        advantage_B = group_relative_advantage(rewards_B.cpu(), groups_B).to(self.device)
        if arm.shuffled_reward:
            order = torch.from_numpy(self.shuffle_rng.permutation(len(advantage_B)))
            advantage_B = advantage_B[order.to(self.device)]
        rate = regime.rate_at(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows, norms, num_skipped = _Rows(), [], 0
        for places in torch.arange(len(advantage_B)).chunk(regime.num_updates):
            norm = self._update(number, asked.prompts, responses, advantage_B, places, rows)
            num_skipped += not np.isfinite(norm)
            norms.append(norm)
        reward = rewards_B.mean().item()
        numbers = {
            "reward": reward,
            "truncated": responses.truncated.float().mean().item(),
            "entropy": responses.entropy,
            "grad_norm": float(np.mean(norms)),
            "skipped": float(num_skipped),
            "learning_rate": rate,
            "no_signal": (advantage_B.view(-1, regime.group_size) == 0)
            .all(-1)
            .float()
            .mean()
            .item(),
            **{
                name.removeprefix(PREFIX): value
                for name, value in self.controller.value(number).items()
            },
            **rows.numbers(),
        }
        self.controller.update(
            number, rows.statistics(reward, self.controller.second_moment_orders)
        )
        return numbers

    def held_out_accuracy(self) -> float:
        """Of greedy answers to the same problems each time."""
        problems = self._draw(HELD_OUT, NUM_HELD_OUT, np.random.default_rng(0))
        answers = self._sample(problems.prompts, None)
        return self.task.score(problems, answers.tokens).gt(0.5).float().mean().item()

    def _draw(self, split: str, count: int, rng: np.random.Generator) -> Problems:
        problems = self.task.draw(split, count, rng)
        return Problems(problems.prompts.to(self.device), problems.answers.to(self.device))

    def _sample(self, prompts: Tensor, generator: torch.Generator | None) -> Responses:
        return sample(
            self.model,
            prompts,
            max_tokens=self.task.max_response_tokens,
            end_id=self.task.end_id,
            generator=generator,
        )

    def _update(
        self,
        number: int,
        prompts: Tensor,
        responses: Responses,
        advantage_B: Tensor,
        places: Tensor,
        rows: _Rows,
    ) -> float:
        """One optimiser step on some of the responses; returns the gradient's norm."""
        arm = self.cell.arm
        old_BT, mask_BT = responses.log_prob[places], responses.mask[places]
        log_prob_BT = log_probs_of(self.model, prompts[places], responses.tokens[places])
        taken_B = advantage_B[places].float()
        log_ratio_BT = (log_prob_BT - old_BT).detach()
        p = self.controller.order(number).for_rows(
            log_ratio_BT, mask_BT, taken_B, clip_low=arm.clip_low, clip_high=arm.clip_high
        )
        loss_B, statistics = _loss(arm, log_prob_BT, old_BT, taken_B, mask_BT, p)
        bounds = token_bounds(
            taken_B, clip_low=arm.clip_low, clip_high=arm.clip_high, clip_level=arm.clip_level
        )
        moments = self.controller.second_moment_orders
        rows.add(log_ratio_BT, mask_BT, taken_B, p, bounds, statistics, moments)
        self.optimizer.zero_grad()
        loss_B.mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.cell.regime.max_grad_norm
        )
        if norm.isfinite():
            self.optimizer.step()
        return float(norm)


def _loss(
    arm: ArmSettings,
    log_prob_BT: Tensor,
    old_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    p: float | Tensor,
) -> tuple[Tensor, Statistics | None]:
    if arm.loss is not None:
        function = load_callable(arm.loss, field=f"{arm.name}.loss")
        return function(log_prob_BT, old_BT, advantage_B, mask_BT), None
    surrogate = clipped_surrogate(
        log_prob_BT,
        old_BT,
        advantage_B,
        mask_BT,
        p=p,
        clip_low=arm.clip_low,
        clip_high=arm.clip_high,
        clip_level=arm.clip_level,
    )
    return surrogate.loss, surrogate.statistics


class _Rows:
    """Numbers of all responses of a round, by name; means are over those with one."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Tensor]] = defaultdict(list)

    def add(
        self,
        log_ratio_BT: Tensor,
        mask_BT: Tensor,
        advantage_B: Tensor,
        p: float | Tensor,
        bounds: TokenBounds | None,
        statistics: Statistics | None,
        moments: tuple[float, ...],
    ) -> None:
        """Of the responses of one update."""
        described = describe_rows(log_ratio_BT, mask_BT, p, bounds)._asdict()
        names = ("ess_frac", "second_moment", "log_ratio_std", "log_ratio_min", "log_ratio_max")
        columns = {name: described[name] for name in (*names, "log_ratio_q05", "log_ratio_q95")}
        if statistics is not None:
            columns["clip_frac"] = statistics.clip_share
        for order in moments:
            moment = second_moment(log_ratio_BT, mask_BT, order, bounds)
            columns[f"moment {order}"] = advantage_B.square() * moment
        for name, values in {**columns, "advantage": advantage_B}.items():
            self._columns[name].append(values.detach().double().cpu())

    def numbers(self) -> dict[str, float]:
        """Means over all responses and over those of each sign, and extremes."""
        found = {}
        for name in self._columns:
            if name.startswith("moment ") or name == "advantage":
                continue
            kinds = {"log_ratio_min": Tensor.min, "log_ratio_max": Tensor.max}
            reduce = kinds.get(name, Tensor.mean)
            for ending, values in (("", self._all(name)), *self._by_sign(name)):
                if len(values):
                    found[name + ending] = reduce(values).item()
        return found

    def statistics(self, reward: float, orders: tuple[float, ...]) -> RoundStatistics:
        """What a controller reads."""
        advantage = self._all("advantage")
        return replace(
            self._statistics(reward, orders, torch.ones_like(advantage, dtype=torch.bool)),
            positive=self._statistics(reward, orders, advantage > 0),
            negative=self._statistics(reward, orders, advantage < 0),
        )

    def _statistics(
        self, reward: float, orders: tuple[float, ...], among: Tensor
    ) -> RoundStatistics:
        if not among.any():
            return RoundStatistics(reward_mean=reward)

        def mean(name: str) -> float:
            return self._all(name)[among].mean().item()

        return RoundStatistics(
            ess_frac=mean("ess_frac"),
            log_ratio_std=mean("log_ratio_std"),
            reward_mean=reward,
            second_moments={order: mean(f"moment {order}") for order in orders},
        )

    def _all(self, name: str) -> Tensor:
        return torch.cat(self._columns[name])

    def _by_sign(self, name: str) -> list[tuple[str, Tensor]]:
        advantage, values = self._all("advantage"), self._all(name)
        return [("_positive", values[advantage > 0]), ("_negative", values[advantage < 0])]
