"""The ratio hook: what the FSDP actor calls instead of verl's bare ``ppo_loss``."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from holderpo.diagnostics import describe_rows, token_clip_fractions
from holderpo.objective import TOKEN, sequence_advantage
from recipe.holderpo.policy_loss import (
    POWER_MEAN,
    LossCall,
    bounds_of,
    loss_call,
    loss_settings,
)

# Key under which the driver puts p into the batch's non-tensor data.
P_KEY = "holder_p"
# Share of real (not padding) rows in a mini-batch; the driver divides the other means by it.
ROW_FRAC = "holder/row_frac"


class HolderActorLoss:
    """Callable for ``set_loss_fn``: reads p from the batch, calls ``ppo_loss``, adds metrics.

    KL and entropy terms stay verl's. Works with any registered policy loss, so runs are comparable;
    the clip metrics exist for the Hölder loss only, those of the weights for the power mean only.
    """

    def __init__(self, config: ActorConfig) -> None:
        """Keep the actor's settings.

        Args:
            config: the actor section of the configuration, as verl's dataclass.
        """
        self.config = config

    def __call__(
        self, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Loss and metrics of one micro-batch, in verl's own calling convention."""
        call = LossCall(p=tu.get_non_tensor_data(data=data, key=P_KEY, default=None))
        with loss_call(call):
            loss, metrics = ppo_loss(self.config, model_output, data, dp_group)
        metrics.update(_metrics(self.config, call, model_output, data))
        return loss, metrics


@torch.no_grad()
def _metrics(
    config: ActorConfig, call: LossCall, model_output: dict[str, Tensor], data: TensorDict
) -> dict[str, Metric]:
    """Global quantities: sums over rows divided by the global batch, and extremes."""
    padded = data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor()
    mask = padded["response_mask"].bool()
    log_ratio = no_padding_2_padding(model_output["log_probs"], data) - padded["old_log_probs"]
    is_row = mask.any(-1)
    scale = data["dp_size"] / data["global_batch_size"]

    def mean(values: Tensor) -> Metric:
        return Metric(AggregationType.SUM, torch.where(is_row, values, 0).sum() * scale)

    def largest(values: Tensor) -> Metric:
        return Metric(AggregationType.MAX, torch.where(is_row, values, -torch.inf).max())

    def smallest(values: Tensor) -> Metric:
        return Metric(AggregationType.MIN, torch.where(is_row, values, torch.inf).min())

    metrics = {ROW_FRAC: mean(torch.ones_like(is_row, dtype=torch.float32))}
    order: float | Tensor | None = None
    bounds = None
    if call.rows is not None:
        settings = loss_settings(config)
        advantage = sequence_advantage(padded["advantages"], mask)
        bounds = bounds_of(config, advantage, settings.clip_level)
        token = bounds_of(config, advantage, TOKEN)
        assert token is not None
        beyond = token_clip_fractions(log_ratio, mask, token)
        metrics |= {
            "holder/clip_frac_high": mean(call.rows.clipped_high.float()),
            "holder/clip_frac_low": mean(call.rows.clipped_low.float()),
            "holder/clip_frac_dual": mean(call.rows.clipped_dual.float()),
            "holder/token_clip_frac_high": mean(beyond.high),
            "holder/token_clip_frac_low": mean(beyond.low),
            "holder/saturated_frac": mean(call.rows.saturated.float()),
        }
        # The weights of a user's own aggregation are not known.
        order = call.p if settings.aggregate == POWER_MEAN else None
    rows = describe_rows(log_ratio, mask, 0.0 if order is None else order, bounds)
    metrics |= {
        "holder/log_ratio_min": smallest(rows.log_ratio_min),
        "holder/log_ratio_max": largest(rows.log_ratio_max),
    }
    means = ["log_ratio_std", "log_ratio_q05", "log_ratio_q95"]
    if order is not None:
        metrics["holder/ess_frac_min"] = smallest(rows.ess_frac)
        means += ["ess_frac", "hhi", "weight_entropy_frac", "top_token_share", "second_moment"]
    return metrics | {f"holder/{name}": mean(getattr(rows, name)) for name in means}


def finish_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Take the hook's raw metrics out of a step's metrics and turn them into their final form.

    Args:
        metrics: the step's metrics after verl's reduction, names prefixed with ``actor/``; the
            hook's entries are removed.

    Returns:
        Metrics under the names of ``holderpo.diagnostics.METRICS``; means are over real rows.
    """
    prefix = "actor/"
    raw = {
        key.removeprefix(prefix): metrics.pop(key)
        for key in list(metrics)
        if key.startswith(prefix + "holder/")
    }
    row_frac = raw.pop(ROW_FRAC, 0.0)
    finished = {}
    for name, value in raw.items():
        is_extreme = name.endswith(("_min", "_max"))
        if is_extreme or row_frac > 0:
            finished[name] = float(value) if is_extreme else float(value) / float(row_frac)
    return finished
