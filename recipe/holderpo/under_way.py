"""Prompts that were under way when a checkpoint was written, and what verl keeps beside them."""

from __future__ import annotations

import transfer_queue as tq

_PARTITION = "train"


def drop_used_rows() -> int:
    """Remove restored rows whose prompt is gone: those of the round that ended in the checkpoint.

    verl writes a checkpoint before it clears its round, and takes the rows up again with it. No
    round ever asks for them, so that they would go along in memory and in every later checkpoint.

    Returns:
        How many there were.
    """
    tags = (tq.kv_list(_PARTITION) or {}).get(_PARTITION, {})
    prompts = {key for key, tag in tags.items() if tag.get("is_prompt")}
    # A row's key begins with that of its prompt.
    used = [key for key in tags if key.split("_")[0] not in prompts]
    if used:
        tq.kv_clear(keys=used, partition_id=_PARTITION)
    return len(used)
