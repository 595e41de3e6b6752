"""verl's reward manager with a rule for truncated responses.

verl tells a reward function neither the tokens of a response nor why it ended, so the rule is one
level up. In the configuration::

    reward:
      reward_manager:
        name: TruncationRewardManager
      reward_kwargs:
        truncated: zero
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.utils.fs import copy_to_local

from recipe.holderpo.sections import truncation_settings


class TruncationRewardManager(NaiveRewardManager):
    """verl's ``naive`` manager; truncated responses are worth what ``reward_kwargs`` says.

    Adds ``truncated``, 0 or 1, to what is reported of each response. A response is truncated if it
    fills ``data.max_response_length``, or together with its prompt the model's context
    (``rollout.max_model_len``), and does not end in an end token.
    """

    def __init__(
        self, config: DictConfig, tokenizer: PreTrainedTokenizerBase, *args: Any, **kwargs: Any
    ) -> None:
        """As verl's.

        Args:
            config: the whole configuration.
            tokenizer: of the model.
            args: as verl's manager.
            kwargs: as verl's manager.

        Raises:
            ValueError: for settings that do not fit.
        """
        super().__init__(config, tokenizer, *args, **kwargs)
        self.settings = truncation_settings(config)
        self.max_response_tokens = config.data.max_response_length
        self.max_tokens = config.actor_rollout_ref.rollout.max_model_len or float("inf")
        model = config.actor_rollout_ref.model
        self.end_tokens = end_tokens(
            tokenizer, model.path, trust_remote_code=model.get("trust_remote_code", False)
        )

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score one response.

        Args:
            data: one row, or one conversation's rows, of which the last counts.

        Returns:
            ``reward_score`` and ``reward_extra_info``, as verl's manager.
        """
        result = await super().run_single(data)
        item = data[-1:][0].batch
        width = item["responses"].shape[-1]
        length = int(item["attention_mask"][-width:].sum())
        prompt_length = int(item["attention_mask"][:-width].sum())
        is_full = length >= self.max_response_tokens or prompt_length + length >= self.max_tokens
        truncated = is_full and int(item["responses"][length - 1]) not in self.end_tokens
        reward = self.settings.reward(
            float(result["reward_score"]),
            truncated=truncated,
            length_tokens=length,
            max_tokens=self.max_response_tokens,
        )
        extra = result["reward_extra_info"] | {"truncated": float(truncated)}
        if "score" in extra:
            extra["score"] = reward
        # Held-out accuracy follows the paper's rule too; a soft penalty is for training only.
        if truncated and self.settings.zeroes and "acc" in extra:
            extra["acc"] = 0.0
        return {"reward_score": reward, "reward_extra_info": extra}


def end_tokens(
    tokenizer: PreTrainedTokenizerBase, model_path: str, *, trust_remote_code: bool = False
) -> frozenset[int]:
    """The tokens at which vLLM stops: the tokenizer's and the generation configuration's.

    Args:
        tokenizer: of the model.
        model_path: where its generation configuration is; without one the model's configuration
            counts, as in vLLM.
        trust_remote_code: whether code of the model may run to read that.

    Returns:
        Token numbers.
    """
    tokens = {tokenizer.eos_token_id}
    configured = _generation_config(copy_to_local(model_path), trust_remote_code).eos_token_id
    tokens |= set(configured) if isinstance(configured, Sequence) else {configured}
    return frozenset(token for token in tokens if token is not None)


def _generation_config(model_path: str, trust_remote_code: bool) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(model_path)
    except OSError:
        config = AutoConfig.from_pretrained(model_path, trust_remote_code=trust_remote_code)
        return GenerationConfig.from_model_config(config)
