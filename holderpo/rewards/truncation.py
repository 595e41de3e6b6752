"""What a response is worth that was cut off at the limit of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from holderpo.number_kinds import is_whole

RULES = ("grade", "zero", "mask", "soft")


@dataclass(frozen=True)
class TruncationSettings:
    """The section ``reward.reward_kwargs`` of the truncation-aware reward manager."""

    truncated: str = "zero"
    """``grade``: what it is graded as, like any other. ``zero``: reward 0, the paper's rule.
    ``mask``: reward 0 and advantage 0, so that it pushes nothing; it still counts in its group's
    mean and in the mean over responses. ``soft``: the graded reward less a penalty that grows
    linearly over the last ``buffer_tokens`` before the limit, truncated or not (DAPO)."""
    buffer_tokens: int | None = None
    """Tokens of the buffer; with ``soft`` only."""
    penalty: float = 1.0
    """Loss of reward at the limit; with ``soft`` only."""

    def __post_init__(self) -> None:
        """The rule must be known, and a buffer there exactly if the rule has one."""
        field = "reward.reward_kwargs"
        if self.truncated not in RULES:
            raise ValueError(
                f"{field}.truncated: {self.truncated!r}; give one of {', '.join(RULES)}"
            )
        if self.truncated != "soft":
            if self.buffer_tokens is not None or self.penalty != 1.0:
                raise ValueError(
                    f"{field}: buffer_tokens and penalty do nothing with truncated "
                    f"{self.truncated!r}; remove them, or give 'soft'"
                )
            return
        count = self.buffer_tokens
        if not is_whole(count, at_least=1):
            raise ValueError(
                f"{field}.buffer_tokens: {count!r}; 'soft' needs a number of tokens above 0"
            )
        if not self.penalty > 0:
            raise ValueError(f"{field}.penalty: {self.penalty!r}; give a number above 0")

    @property
    def zeroes(self) -> bool:
        """Whether a truncated response is worth nothing, held-out accuracy included."""
        return self.truncated in ("zero", "mask")

    def reward(
        self, score: float, *, truncated: bool, length_tokens: int, max_tokens: int
    ) -> float:
        """The reward of a response.

        **Source**: ``zero``: the rule of the paper's mathematics runs; ``soft``: DAPO's soft
        overlong punishment (arXiv 2503.14476, Eq. 13).

        Args:
            score: as graded.
            truncated: whether it was cut off.
            length_tokens: of the response.
            max_tokens: limit of a response.

        Returns:
            The reward.
        """
        if self.truncated != "soft":
            return 0.0 if truncated and self.zeroes else score
        assert self.buffer_tokens is not None
        over_tokens = length_tokens - (max_tokens - self.buffer_tokens)
        return score - self.penalty * min(max(over_tokens / self.buffer_tokens, 0.0), 1.0)
