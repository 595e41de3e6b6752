"""A rollout of one turn whatever the tokenizer."""

from __future__ import annotations

import logging
from typing import Any

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

# verl would warn once for every response that it treats the model as one it does not know.
logging.getLogger("verl.utils.tokenizer.continuous_token_wiring").setLevel(logging.ERROR)


class AnyTokenizerLoop(SingleTurnAgentLoop):
    """verl's loop for one turn, without its handling of chat turns by model family.

    verl 0.9.1 reads the family off the architecture alone and asks every Qwen2 or Qwen3 for the
    token ``<|im_end|>``. Models distilled from DeepSeek-R1 have the architecture and not the token,
    and every rollout fails (verl-project/verl#7637). With one turn there is nothing between turns
    to handle.

    ``rollout.agent.default_agent_loop: single_turn_any_tokenizer`` chooses it.
    """

    def __init__(self, *args: Any, hf_model_type: str | None = None, **kwargs: Any) -> None:
        """As verl's loop for a model of no known family.

        Args:
            args: handed on.
            hf_model_type: left out on purpose.
            kwargs: handed on.
        """
        super().__init__(*args, **kwargs)
