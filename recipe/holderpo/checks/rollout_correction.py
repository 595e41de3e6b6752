"""Whether the correction for the rollout engine's own probabilities can be made."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from recipe.holderpo.sections import HOLDER

_SECTION = "algorithm.rollout_correction"
# verl's options that reject single tokens begin so, the others reject responses.
_OF_TOKENS = "token_"


def correction_problems(config: DictConfig) -> Iterator[str]:
    """Corrections that would not be made, or would change what the loss is a mean of.

    Args:
        config: as composed.

    Yields:
        One line per problem: field, value, fix.
    """
    section = config.algorithm.rollout_correction
    wanted = [name for name in ("rollout_is", "rollout_rs") if section[name] is not None]
    if not config.actor_rollout_ref.rollout.calculate_log_probs:
        for name in wanted:
            yield (
                f"{_SECTION}.{name}: {section[name]!r}; it compares with the log-probabilities of "
                "the rollout engine, set actor_rollout_ref.rollout.calculate_log_probs=true"
            )
    if section.rollout_rs is not None and section.rollout_rs_threshold is None:
        yield (
            f"{_SECTION}.rollout_rs_threshold: null; give the threshold of rollout_rs "
            f"{section.rollout_rs!r}"
        )
    if config.actor_rollout_ref.actor.policy_loss.loss_mode == HOLDER:
        yield from _of_holder(section)


def verl_correction_problems(config: DictConfig) -> Iterator[str]:
    """What verl itself says of the correction, on one token.

    Args:
        config: a checked configuration.

    Yields:
        One line per problem: field, value, fix.
    """
    import torch
    from verl.trainer.ppo.rollout_corr_helper import (
        compute_rollout_correction_weights,
        compute_rollout_rejection_mask,
    )

    section = config.algorithm.rollout_correction
    token = torch.zeros(1, 1), torch.ones(1, 1)
    if section.rollout_is is not None:
        try:
            compute_rollout_correction_weights(
                *token, section.rollout_is, section.rollout_is_threshold
            )
        except (ValueError, TypeError) as error:
            yield (
                f"{_SECTION}.rollout_is: {section.rollout_is!r} with rollout_is_threshold "
                f"{section.rollout_is_threshold!r}; verl: {error}"
            )
    if section.rollout_rs is not None:
        try:
            compute_rollout_rejection_mask(*token, section.rollout_rs, section.rollout_rs_threshold)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            yield (
                f"{_SECTION}.rollout_rs: {section.rollout_rs!r} with rollout_rs_threshold "
                f"{section.rollout_rs_threshold!r}; verl: {error}"
            )


def _of_holder(section: DictConfig) -> Iterator[str]:
    if section.rollout_is not in (None, "sequence"):
        yield (
            f"{_SECTION}.rollout_is: {section.rollout_is!r}; the Hölder loss has one ratio per "
            "response, set it to 'sequence' or null"
        )
    options = [option.strip() for option in str(section.rollout_rs or "").split(",")]
    if of_tokens := [option for option in options if option.startswith(_OF_TOKENS)]:
        yield (
            f"{_SECTION}.rollout_rs: {', '.join(of_tokens)}; rejected tokens would leave the mean "
            "over a response, give options that reject whole responses (seq_mean_k1, ...) or null"
        )
    if section.bypass_mode:
        yield (
            f"{_SECTION}.bypass_mode: true; set it to false: the ratio would also hold the "
            "difference between rollout engine and trainer"
        )
