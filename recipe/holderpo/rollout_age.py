"""What is logged of a round's responses by their age, on the driver.

verl's weights have the number of the step that ended with them; a response bears the number of
those that wrote its first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.utils.config import omega_conf_to_dataclass

from holderpo.control.order import Order
from holderpo.objective import first_of_each
from holderpo.rollout_age import describe_by_age
from recipe.holderpo.policy_loss import clip_range

_OLD, _ROLLOUT, _MASK = "old_log_probs", "rollout_log_probs", "response_mask"
_ADVANTAGES, _IS_WEIGHTS = "advantages", "rollout_is_weights"


def age_metrics(
    batch: KVBatchMeta, config: DictConfig, step: int, order: Order | None
) -> dict[str, float]:
    """Old policy over the rollout's, for each age of the responses of a round.

    Args:
        batch: of the round, with log-probabilities and advantages; rows that verl filled it up
            with, and responses that ``rollout_rs`` rejects, have no tokens and count nowhere.
        config: of the run, which has the log-probabilities of rollouts computed.
        step: rounds completed, the number of the weights that the round begins with.
        order: of the round; None where the loss has none.

    Returns:
        Metrics by name.
    """
    names = [_OLD, _ROLLOUT, _MASK, _ADVANTAGES]
    if config.algorithm.rollout_correction.rollout_is is not None:
        names.append(_IS_WEIGHTS)
    data = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=names
    ).to_padded_tensor()
    mask_BT = data[_MASK].bool()
    log_ratio_BT = data[_OLD] - data[_ROLLOUT]
    p: float | Tensor | None = None
    if order is not None:
        advantage_B = first_of_each(data[_ADVANTAGES], mask_BT)[0]
        clip = clip_range(omega_conf_to_dataclass(config.actor_rollout_ref.actor))
        p = order.for_rows(log_ratio_BT, mask_BT, advantage_B, **clip._asdict())
    return describe_by_age(
        log_ratio_BT, mask_BT, _ages(batch.tags, step), p, data.get(_IS_WEIGHTS, None)
    )


def _ages(tags: list[Mapping[str, Any]], step: int) -> Tensor:
    return torch.tensor([step - tag["min_global_steps"] for tag in tags])
