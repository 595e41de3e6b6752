"""Responses of a small model, many at once, with a cache of keys and values.

Shapes: ``N`` prompts, ``P`` prompt tokens, ``T`` response tokens, ``V`` vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Responses(NamedTuple):
    """Sampled responses; what follows an end token is the end token again, and masked."""

    tokens: Tensor
    """(N, T) int64."""
    log_prob: Tensor
    """(N, T) float32; of each token under the model that wrote it, nats; 0 where masked."""
    mask: Tensor
    """(N, T) bool; tokens of the response, its end token included."""
    entropy: float
    """Mean over the tokens of the entropy of the distribution they were drawn from, nats."""
    truncated: Tensor
    """(N,) bool; without an end token."""


@torch.no_grad()
def sample(
    model: Any,
    prompts: Tensor,
    *,
    max_tokens: int,
    end_id: int,
    generator: torch.Generator | None,
) -> Responses:
    """Answer prompts of one length.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        prompts: (N, P) int64 on the model's device.
        max_tokens: T at most.
        end_id: token that ends a response.
        generator: source of randomness on the model's device, temperature 1; None for the most
            likely token each time.

    Returns:
        The responses; T is the longest one's length.
    """
    num_prompts, device = len(prompts), prompts.device
    running = torch.ones(num_prompts, dtype=torch.bool, device=device)
    tokens, log_probs, masks = [], [], []
    entropy = torch.zeros((), device=device, dtype=torch.float64)
    inputs, cache = prompts, None
    for _ in range(max_tokens):
        output = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        log_prob_NV = output.logits[:, -1].float().log_softmax(-1)
        if generator is None:
            token_N = log_prob_NV.argmax(-1)
        else:
            token_N = torch.multinomial(log_prob_NV.exp(), 1, generator=generator).squeeze(-1)
        token_N = torch.where(running, token_N, end_id)
        chosen_N = log_prob_NV.gather(-1, token_N.unsqueeze(-1)).squeeze(-1)
        tokens.append(token_N)
        masks.append(running)
        log_probs.append(torch.where(running, chosen_N, 0))
        entropy_N = -(log_prob_NV.exp() * log_prob_NV).sum(-1)
        entropy += torch.where(running, entropy_N, 0).sum(dtype=torch.float64)
        running = running & (token_N != end_id)
        if not running.any():
            break
        inputs = token_N.unsqueeze(-1)
    mask_NT = torch.stack(masks, 1)
    return Responses(
        tokens=torch.stack(tokens, 1),
        log_prob=torch.stack(log_probs, 1),
        mask=mask_NT,
        entropy=(entropy / mask_NT.sum()).item(),
        truncated=running,
    )


def log_probs_of(model: Any, prompts: Tensor, responses: Tensor) -> Tensor:
    """Log-probability of each token of given responses, with gradient.

    Args:
        model: a causal language model of transformers.
        prompts: (N, P) int64.
        responses: (N, T) int64.

    Returns:
        (N, T) float32, nats.
    """
    num_tokens = responses.shape[1]
    # The last token's logits would be those of what follows.
    inputs = torch.cat([prompts, responses[:, :-1]], 1)
    output = model(input_ids=inputs, use_cache=False, logits_to_keep=num_tokens)
    logits: Tensor = output.logits.float()
    chosen = logits.gather(-1, responses.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)
