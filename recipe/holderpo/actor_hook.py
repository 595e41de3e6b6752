"""The ratio hook: what the FSDP actor calls instead of verl's bare ``ppo_loss``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from holderpo.control import RoundStatistics
from holderpo.control.rules import SIDES
from holderpo.diagnostics import (
    RowDiagnostics,
    describe_rows,
    nonfinite_rows,
    second_moment,
    token_clip_fractions,
)
from holderpo.metrics import (
    CLIP_FRAC_DUAL,
    CLIP_FRAC_HIGH,
    CLIP_FRAC_LOW,
    ESS_FRAC,
    ESS_FRAC_MIN,
    LOG_RATIO_MAX,
    LOG_RATIO_MIN,
    LOG_RATIO_STD,
    NONFINITE_FRAC,
    P_MEAN,
    PREFIX,
    SATURATED_FRAC,
    TOKEN_CLIP_FRAC_HIGH,
    TOKEN_CLIP_FRAC_LOW,
    TOKEN_HELD_FRAC,
)
from holderpo.objective import TOKEN, token_bounds
from recipe.holderpo.mini_batches import REAL_ROWS
from recipe.holderpo.policy_loss import (
    ORDER_KEY,
    LossCall,
    bounds_of,
    clip_range,
    loss_call,
    loss_settings,
)
from recipe.holderpo.sections import HOLDER, POWER_MEAN
from recipe.holderpo.used_order import extreme_name

# Under which the driver puts the orders whose second moment it wants to know into the batch.
SECOND_MOMENT_ORDERS_KEY = "holder_second_moment_orders"
# Share of real (not padding) rows in a mini-batch; the driver divides the other means by it. With
# the name of a sign: of the rows whose advantage has it.
ROW_FRAC = PREFIX + "row_frac"
SIGN_ENDINGS = tuple(f"_{side}" for side in SIDES)
# With the place of an order among those that the driver wants to know.
MOMENT_AT = PREFIX + "moment_at_"


class HolderActorLoss:
    """Callable for ``set_loss_fn``: hands the batch's order to ``ppo_loss``, adds metrics.

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
        if REAL_ROWS in data:
            # Of a round that was filled up; verl would divide by the rows that fill it, too.
            num_rows = data[REAL_ROWS][0].item()
            data = data.exclude(REAL_ROWS)
            tu.assign_non_tensor_data(data, "global_batch_size", num_rows)
        call = LossCall(order=tu.get_non_tensor_data(data=data, key=ORDER_KEY, default=None))
        with loss_call(call):
            loss, metrics = ppo_loss(self.config, model_output, data, dp_group)
        if call.p is None and self.config.policy_loss.loss_mode == HOLDER:
            raise RuntimeError(
                f"{ORDER_KEY}: the loss '{HOLDER}' was computed without it; it must run in the "
                "thread that calls it"
            )
        orders = tu.get_non_tensor_data(data=data, key=SECOND_MOMENT_ORDERS_KEY, default=())
        metrics.update(_metrics(self.config, call, loss, model_output, data, orders))
        return loss, metrics


@torch.no_grad()
def _metrics(
    config: ActorConfig,
    call: LossCall,
    loss: Tensor,
    model_output: dict[str, Tensor],
    data: TensorDict,
    second_moment_orders: Sequence[float],
) -> dict[str, Metric]:
    """Global quantities: sums over rows divided by the global batch, and extremes."""
    if call.log_ratio is None or call.mask is None:
        padded = data.select("response_mask", "old_log_probs").to_padded_tensor()
        mask = padded["response_mask"].bool()
        log_prob = no_padding_2_padding(model_output["log_probs"], data)
        log_ratio = log_prob - padded["old_log_probs"]
    else:
        mask, log_ratio = call.mask, call.log_ratio
    is_row = mask.any(-1)
    scale = data["dp_size"] / data["global_batch_size"]
    readings = _Readings()
    by_sign: dict[str, Tensor] = {}
    among_sign: dict[str, Tensor] = {}
    if call.rows is None:
        means = _of_any_loss(describe_rows(log_ratio, mask, 0.0))
    else:
        advantage = call.rows.advantage
        among_sign = {"positive": is_row & (advantage > 0), "negative": is_row & (advantage < 0)}
        means, by_sign = _of_holder_loss(config, call, log_ratio, mask, second_moment_orders)
        _add_orders(readings, means[P_MEAN], is_row, advantage)
    broken = nonfinite_rows(log_ratio, mask, call.row_losses)
    # A loss that is broken as a whole says of no response that it is sound.
    means[NONFINITE_FRAC] = torch.where(loss.isfinite() | broken.any(), broken, is_row)
    readings.add_extreme(LOG_RATIO_MIN, "MIN", is_row, means.pop(LOG_RATIO_MIN))
    readings.add_extreme(LOG_RATIO_MAX, "MAX", is_row, means.pop(LOG_RATIO_MAX))
    if ESS_FRAC in means:
        readings.add_extreme(ESS_FRAC_MIN, "MIN", is_row, means[ESS_FRAC])
    readings.add_means({ROW_FRAC: is_row} | means, is_row, scale)
    for sign, among in among_sign.items():
        readings.add_means({ROW_FRAC: among} | by_sign, among, scale, ending=f"_{sign}")
    return readings.read(call)


class _Readings:
    """Numbers that are still on the device; all of them are read at once, with one wait for it."""

    def __init__(self) -> None:
        self._kinds: dict[str, AggregationType] = {}
        self._values: list[Tensor] = []

    def add_means(
        self, values: dict[str, Tensor], among: Tensor, scale: float | Tensor, ending: str = ""
    ) -> None:
        """Sums of (rows,) over some rows, times ``scale``."""
        for name in values:
            self._name(name + ending, AggregationType.SUM)
        table = torch.stack([column.double() for column in values.values()])
        self._values.append(torch.where(among, table, 0).sum(-1) * scale)

    def add_extreme(self, name: str, kind: str, is_row: Tensor, values: Tensor) -> None:
        """The smallest or the largest of (rows,)."""
        self._name(name, AggregationType[kind])
        outside = torch.inf if kind == "MIN" else -torch.inf
        of_rows = torch.where(is_row, values, outside)
        extreme = of_rows.min() if kind == "MIN" else of_rows.max()
        self._values.append(extreme.unsqueeze(0))

    def _name(self, name: str, kind: AggregationType) -> None:
        # Names and numbers belong together by their places.
        assert name not in self._kinds, name
        self._kinds[name] = kind

    def read(self, call: LossCall) -> dict[str, Metric]:
        """The metrics, the loss's own among them."""
        unread = [] if call.rows is None else [call.unread()]
        numbers = torch.cat([values.double() for values in self._values + unread]).tolist()
        named, rest = numbers[: len(self._kinds)], numbers[len(self._kinds) :]
        metrics = {
            name: Metric(kind, value)
            for (name, kind), value in zip(self._kinds.items(), named, strict=True)
        }
        if unread:
            own = call.own_metrics(rest)
            # As verl reduces those of its own losses.
            metrics |= {name: Metric(AggregationType.MEAN, value) for name, value in own.items()}
        return metrics


def _of_any_loss(rows: RowDiagnostics) -> dict[str, Tensor]:
    """What the log-ratios alone tell; each (rows,)."""
    return {name: v for name, v in _named(rows).items() if name.startswith(PREFIX + "log_ratio_")}


def _named(rows: RowDiagnostics) -> dict[str, Tensor]:
    """By the name under which each is logged."""
    return {PREFIX + name: values for name, values in rows._asdict().items()}


def _of_holder_loss(
    config: ActorConfig,
    call: LossCall,
    log_ratio: Tensor,
    mask: Tensor,
    second_moment_orders: Sequence[float],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is averaged over all rows, and what of it also over those of each sign."""
    assert call.rows is not None
    assert call.p is not None
    settings = loss_settings(config)
    advantage = call.rows.advantage
    bounds = bounds_of(config, advantage, settings.clip_level)
    token = token_bounds(advantage, **clip_range(config)._asdict(), clip_level=TOKEN)
    assert token is not None
    beyond = token_clip_fractions(log_ratio, mask, token)
    means = {
        CLIP_FRAC_HIGH: call.rows.clipped_high,
        CLIP_FRAC_LOW: call.rows.clipped_low,
        CLIP_FRAC_DUAL: call.rows.dual_share,
        TOKEN_HELD_FRAC: call.rows.held_high + call.rows.held_low,
        TOKEN_CLIP_FRAC_HIGH: beyond.high,
        TOKEN_CLIP_FRAC_LOW: beyond.low,
        SATURATED_FRAC: call.rows.saturated,
        P_MEAN: _order_of_rows(call, mask),
    }
    if settings.aggregate != POWER_MEAN:
        # The weights of a user's own aggregation are not known.
        known = _of_any_loss(describe_rows(log_ratio, mask, 0.0))
        return means | known, {LOG_RATIO_STD: known[LOG_RATIO_STD]}
    rows = describe_rows(log_ratio, mask, call.p, bounds)
    by_sign = {ESS_FRAC: rows.ess_frac, LOG_RATIO_STD: rows.log_ratio_std}
    for place, order in enumerate(second_moment_orders):
        moment = second_moment(log_ratio, mask, order, bounds)
        by_sign[f"{MOMENT_AT}{place}"] = advantage.square() * moment
    return means | _named(rows) | by_sign, by_sign


def _order_of_rows(call: LossCall, mask: Tensor) -> Tensor:
    """(rows,); in float64 where it is one number, which then comes back as it was sent."""
    p = call.p
    assert p is not None
    if not isinstance(p, Tensor):
        # Filled in on the device: a number that is sent there would be waited for.
        p = torch.full((), p, dtype=torch.float64, device=mask.device)
    return p.expand(len(mask))


def _add_orders(readings: _Readings, order: Tensor, is_row: Tensor, advantage: Tensor) -> None:
    """Smallest and largest order of each side; of no responses, the infinities."""
    sides = {"positive": is_row & ~(advantage < 0), "negative": is_row & (advantage < 0)}
    for side, among in sides.items():
        for kind in ("min", "max"):
            readings.add_extreme(extreme_name(side, kind), kind.upper(), among, order)


def finish_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Take the hook's raw metrics out of a step's metrics and turn them into their final form.

    Args:
        metrics: the step's metrics after verl's reduction, names prefixed with ``actor/``; the
            hook's entries are removed.

    Returns:
        Metrics under the names of ``holderpo.metrics.METRICS``, the extremes of the orders that
        were used, and the second moments at the orders that were asked for; means are over real
        rows, of one sign where the name ends so.

    Raises:
        RuntimeError: if the actor did not call the hook.
    """
    prefix = "actor/"
    raw = {
        key.removeprefix(prefix): float(metrics.pop(key))
        for key in list(metrics)
        if key.startswith(prefix + PREFIX)
    }
    if ROW_FRAC not in raw:
        raise RuntimeError(
            "actor: it did not compute its loss through HolderActorLoss, so p did not reach it; "
            "leave set_loss_fn to this project's trainer"
        )
    row_frac = {ending: raw.pop(ROW_FRAC + ending, 0.0) for ending in ("", *SIGN_ENDINGS)}
    finished = {NONFINITE_FRAC: 0.0}
    for name, value in raw.items():
        ending = next((ending for ending in SIGN_ENDINGS if name.endswith(ending)), "")
        if row_frac[ending] > 0:
            is_extreme = name.endswith(("_min", "_max"))
            finished[name] = value if is_extreme else value / row_frac[ending]
    return finished


def take_statistics(
    finished: dict[str, float],
    reward_mean: float | None,
    second_moment_orders: Sequence[float],
) -> RoundStatistics:
    """What a controller of p wants to know of a round; the second moments are taken out.

    Args:
        finished: metrics from :func:`finish_metrics`.
        reward_mean: mean reward of the round's responses; None where it is not known.
        second_moment_orders: that were asked for.

    Returns:
        The statistics; what was not measured is None.
    """

    def statistics(ending: str) -> RoundStatistics:
        names = {order: f"{MOMENT_AT}{n}{ending}" for n, order in enumerate(second_moment_orders)}
        return RoundStatistics(
            ess_frac=finished.get(ESS_FRAC + ending),
            log_ratio_std=finished.get(LOG_RATIO_STD + ending),
            reward_mean=reward_mean,
            second_moments={p: finished.pop(name) for p, name in names.items() if name in finished},
        )

    positive, negative = (statistics(ending) for ending in SIGN_ENDINGS)
    return replace(statistics(""), positive=positive, negative=negative)
