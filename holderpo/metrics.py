"""Names of the metrics, and the table that explains them.

``python -m holderpo.metrics`` prints what it says.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from holderpo.alfworld.tasks import TASK_TYPES

PREFIX = "holder/"

# Named in more places than the table below.
P = "holder/p"
P_POSITIVE = "holder/p_positive"
P_NEGATIVE = "holder/p_negative"
P_MEAN = "holder/p_mean"
P_MIN = "holder/p_min"
P_MAX = "holder/p_max"
ESS_FRAC = "holder/ess_frac"
ESS_FRAC_MIN = "holder/ess_frac_min"
LOG_RATIO_STD = "holder/log_ratio_std"
LOG_RATIO_MIN = "holder/log_ratio_min"
LOG_RATIO_MAX = "holder/log_ratio_max"
CLIP_FRAC_HIGH = "holder/clip_frac_high"
CLIP_FRAC_LOW = "holder/clip_frac_low"
CLIP_FRAC_DUAL = "holder/clip_frac_dual"
TOKEN_CLIP_FRAC_HIGH = "holder/token_clip_frac_high"
TOKEN_CLIP_FRAC_LOW = "holder/token_clip_frac_low"
TOKEN_HELD_FRAC = "holder/token_held_frac"
SATURATED_FRAC = "holder/saturated_frac"
NONFINITE_FRAC = "holder/nonfinite_frac"
SKIPPED_UPDATES = "actor/skipped_updates"
GROUP_NO_SIGNAL_FRAC = "group/no_signal_frac"
ANCHORED_TURN_FRAC = "advantage/anchored_turn_frac"
ANCHOR_GROUP_SIZE_MEAN = "advantage/anchor_group_size_mean"
EPISODE_ADVANTAGE_STD = "advantage/episode_std"
STEP_ADVANTAGE_STD = "advantage/step_std"
FAILED_PROMPTS = "rollout/failed_prompts"
ROLLOUT_AGE_FRAC = "rollout/age_frac"
ROLLOUT_LOG_RATIO_MEAN = "rollout/log_ratio_mean"
ROLLOUT_LOG_RATIO_STD = "rollout/log_ratio_std"
ROLLOUT_ESS_FRAC = "rollout/ess_frac"
ROLLOUT_IS_WEIGHT = "rollout/is_weight_mean"
# Ages of responses, in steps; the last one and all above it.
AGE_NAMES = ("age0", "age1", "age2", "age3_up")
TRUNCATED_FRAC = "reward/truncated_frac"
ENV_STEPS = "env/step_count"
EPISODE_SUCCESS_FRAC = "episode/success_frac"

# verl's own that this project reads.
REWARD_MEAN = "critic/rewards/mean"
POLICY_ENTROPY = "actor/entropy"
GRADIENT_NORM = "actor/grad_norm"
STEP_SECONDS = "timing_s/step"


class MetricInfo(NamedTuple):
    """One row of the table of metrics."""

    name: str
    """Name under which it is logged."""
    unit: str
    """Unit of the value."""
    reduction: str
    """How it is reduced over the rows and updates of a step."""
    healthy: str
    """Range seen in a healthy run."""
    bad_means: str
    """What a value outside that range means."""


# What is said of the responses of each age.
_OF_AGES = (
    (
        ROLLOUT_AGE_FRAC,
        "fraction of responses",
        "share of those",
        "age 0, or 1 with asynchronous rollouts",
        "most are old: fewer `num_warmup_batches`, or faster rollouts",
    ),
    (
        ROLLOUT_LOG_RATIO_MEAN,
        "nats",
        "old policy over the rollout's: mean over the tokens, then over responses",
        "-0.02 to 0",
        "below: the policy has left what wrote them, correct (`rollout_is`) or drop them",
    ),
    (
        ROLLOUT_LOG_RATIO_STD,
        "nats",
        "the same ratio: spread over tokens, mean over responses",
        "0.01 to 0.3; at age 0 the rollout engine's own rounding",
        "large at age 0: the rollout engine computes another policy",
    ),
    (
        ROLLOUT_ESS_FRAC,
        "fraction of tokens",
        "what `holder/ess_frac` would be with that ratio: mean over responses",
        "0.7 to 1",
        "low: with old log-probabilities of the rollout, age and not p would choose the tokens",
    ),
    (
        ROLLOUT_IS_WEIGHT,
        "ratio",
        "what `rollout_is` multiplies their loss by: mean over the tokens, then over responses",
        "0.5 to 1.5",
        "near 0: old responses teach nothing",
    ),
)

METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(
        P,
        "order",
        "value that the actors used, where all responses have one",
        "as scheduled",
        "schedule or resume is wrong",
    ),
    MetricInfo(
        P_POSITIVE,
        "order",
        "value that the actors used for advantages of 0 or more, where the signs have their own",
        "as scheduled",
        "schedule or resume is wrong",
    ),
    MetricInfo(
        P_NEGATIVE,
        "order",
        "value that the actors used for negative advantages; not in a round without any",
        "as scheduled",
        "schedule or resume is wrong",
    ),
    MetricInfo(
        P_MEAN,
        "order",
        "mean over responses, where they have their own orders",
        "within the bounds",
        "at one bound throughout: the rule does nothing",
    ),
    MetricInfo(
        P_MIN,
        "order",
        "minimum over responses, where they have their own orders",
        "within the bounds",
        "as holder/p_mean",
    ),
    MetricInfo(
        P_MAX,
        "order",
        "maximum over responses, where they have their own orders",
        "within the bounds",
        "as holder/p_mean",
    ),
    MetricInfo(
        ESS_FRAC,
        "fraction of tokens",
        "mean over responses",
        "0.7 to 1",
        "near 0: few tokens carry the gradient; 1 throughout: p has no effect",
    ),
    MetricInfo(
        f"{ESS_FRAC}_positive",
        "fraction of tokens",
        "mean over responses with a positive advantage",
        "0.7 to 1",
        "as holder/ess_frac",
    ),
    MetricInfo(
        f"{ESS_FRAC}_negative",
        "fraction of tokens",
        "mean over responses with a negative advantage",
        "0.7 to 1",
        "as holder/ess_frac",
    ),
    MetricInfo(
        ESS_FRAC_MIN,
        "fraction of tokens",
        "minimum over responses",
        "above 1/T",
        "1/T: one token carries a whole response",
    ),
    MetricInfo(
        "holder/weight_entropy_frac",
        "fraction of ln T",
        "mean over responses",
        "0.9 to 1",
        "low: the gradient is concentrated on few tokens",
    ),
    MetricInfo(
        "holder/hhi",
        "sum of squared weights",
        "mean over responses",
        "near 1/T",
        "near 1: one token carries a whole response",
    ),
    MetricInfo(
        "holder/top_token_share",
        "fraction of the weight",
        "mean over responses of the share of the tenth of the tokens with the largest weights",
        "0.1 to 0.3",
        "near 1: a tenth of the tokens carries the gradient",
    ),
    MetricInfo(
        "holder/second_moment",
        "rho^2 sum W^2",
        "mean over responses",
        "near 1/T",
        "far above 1/T: the gradient's second moment (Theorem 7) is what p makes it",
    ),
    MetricInfo(
        LOG_RATIO_STD,
        "nats",
        "mean over responses of the spread over tokens",
        "0.01 to 0.5",
        "0: every ratio is 1 and p has no effect; above 1: updates are too large",
    ),
    MetricInfo(
        f"{LOG_RATIO_STD}_positive",
        "nats",
        "mean over responses with a positive advantage",
        "0.01 to 0.5",
        "as holder/log_ratio_std",
    ),
    MetricInfo(
        f"{LOG_RATIO_STD}_negative",
        "nats",
        "mean over responses with a negative advantage",
        "0.01 to 0.5",
        "as holder/log_ratio_std",
    ),
    MetricInfo(
        LOG_RATIO_MIN,
        "nats",
        "minimum over tokens",
        "above -5",
        "a token's probability has collapsed",
    ),
    MetricInfo(
        LOG_RATIO_MAX,
        "nats",
        "maximum over tokens",
        "below 3",
        "a token's probability has exploded",
    ),
    MetricInfo(
        "holder/log_ratio_q05",
        "nats",
        "mean over responses of the 5 % quantile over tokens",
        "above -1",
        "many tokens became unlikely: updates are too large",
    ),
    MetricInfo(
        "holder/log_ratio_q95",
        "nats",
        "mean over responses of the 95 % quantile over tokens",
        "below 1",
        "many tokens became likely: updates are too large",
    ),
    MetricInfo(
        CLIP_FRAC_HIGH,
        "fraction of responses",
        "mean over responses, 0 with token clipping",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        CLIP_FRAC_LOW,
        "fraction of responses",
        "mean over responses, 0 with token clipping",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        CLIP_FRAC_DUAL,
        "fraction of responses",
        "mean over responses, with token clipping of the share of their tokens",
        "0",
        "above 0: the dual clip holds responses that became far too likely",
    ),
    MetricInfo(
        TOKEN_CLIP_FRAC_HIGH,
        "fraction of tokens",
        "mean over responses of the share of tokens above 1 + clip_high with positive advantage",
        "0 to 0.2",
        "high: with token clipping these tokens have no gradient",
    ),
    MetricInfo(
        TOKEN_CLIP_FRAC_LOW,
        "fraction of tokens",
        "mean over responses of the share of tokens below 1 - clip_low with negative advantage",
        "0 to 0.2",
        "high: with token clipping these tokens have no gradient",
    ),
    MetricInfo(
        TOKEN_HELD_FRAC,
        "fraction of tokens",
        "mean over responses of the share of tokens held by the token clip, 0 without one",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        SATURATED_FRAC,
        "fraction of responses",
        "mean over responses",
        "0",
        "above 0: ratios are held at exp(20); far too large updates",
    ),
    MetricInfo(
        NONFINITE_FRAC,
        "fraction of responses",
        "mean over responses of all updates, for every loss",
        "0",
        "above 0: a log-ratio or the loss is NaN or infinite; their updates are skipped",
    ),
    MetricInfo(
        SKIPPED_UPDATES,
        "optimiser steps",
        "count over the updates of a step, for every loss",
        "0",
        "above 0: the gradient was not finite, and nothing was learnt from those updates",
    ),
    MetricInfo(
        GROUP_NO_SIGNAL_FRAC,
        "fraction of groups",
        "mean over groups",
        "below 0.8",
        "1: all rewards within every group are equal, nothing is learnt (but from credit by step)",
    ),
    MetricInfo(
        ANCHORED_TURN_FRAC,
        "fraction of turns",
        "mean over turns of whether another of the group answers the same observation",
        "above 0.3",
        "near 0: credit by step has nothing to compare; the observation holds what never repeats",
    ),
    MetricInfo(
        ANCHOR_GROUP_SIZE_MEAN,
        "turns",
        "mean over observations of the turns of a group that answer them",
        "1.5 to 10",
        "1: as advantage/anchored_turn_frac; as many as all turns: observations say nothing",
    ),
    MetricInfo(
        EPISODE_ADVANTAGE_STD,
        "advantage",
        "standard deviation over turns of the episode's part, before transforms",
        "0.3 to 1",
        "0: as group/no_signal_frac at 1",
    ),
    MetricInfo(
        STEP_ADVANTAGE_STD,
        "advantage",
        "standard deviation over turns of the part by step, before step_weight and transforms",
        "0.2 to 1",
        "0: whatever is done in a state is worth the same, or no state repeats",
    ),
    MetricInfo(
        FAILED_PROMPTS,
        "prompts",
        "number of prompts with a rollout that raised",
        "0",
        "above 0: the round lacks their responses (max_failed_prompts); the log says why",
    ),
    *(
        MetricInfo(
            f"{name}_{age}", unit, f"{reduction} whose first token is {old} old", healthy, bad_means
        )
        for age, old in zip(
            AGE_NAMES, ("0 steps", "1 step", "2 steps", "3 steps or more"), strict=True
        )
        for name, unit, reduction, healthy, bad_means in _OF_AGES
    ),
    MetricInfo(
        "reward/no_answer_frac",
        "fraction of responses",
        "mean over responses",
        "falling to 0.05",
        "rising: boxes or answer tags are no longer written, or not closed in time",
    ),
    MetricInfo(
        "reward/unparseable_frac",
        "fraction of responses",
        "mean over responses",
        "below 0.05",
        "rising: answers are no mathematics",
    ),
    MetricInfo(
        "reward/timeout_frac",
        "fraction of responses",
        "mean over responses",
        "below 0.01",
        "rising: answers are written that no grader can finish; look at the rollouts",
    ),
    MetricInfo(
        "reward/error_frac",
        "fraction of responses",
        "mean over responses",
        "0",
        "above 0: the grader fails, rewards are missing; the log says why",
    ),
    MetricInfo(
        TRUNCATED_FRAC,
        "fraction of responses",
        "mean over responses",
        "below 0.1",
        "high: responses do not end; raise max_response_length",
    ),
    MetricInfo(
        "episode/success_frac",
        "share of the episodes",
        "over the round's episodes, each once",
        "rises",
        "0 or 1 for long: no group has a signal; choose easier or harder games",
    ),
    *(
        MetricInfo(
            f"episode/success_frac_{task_type}",
            "share of the episodes",
            f"over the round's episodes of `{task_type}`",
            "rises",
            "0 for long: nothing is learnt of this type",
        )
        for task_type in TASK_TYPES.values()
    ),
    MetricInfo(
        "episode/return_mean",
        "reward",
        "mean over the round's episodes of reward less penalties",
        "rises",
        "falls while success does not: penalties grow, see the shares of turns",
    ),
    MetricInfo(
        "episode/turns_mean",
        "turns",
        "mean over the round's episodes",
        "falls as success rises",
        "at the limit of steps: hardly any episode is won",
    ),
    MetricInfo(
        "episode/turns_max",
        "turns",
        "longest of the round's episodes",
        "at most `agent.max_steps`",
        "no range",
    ),
    MetricInfo(
        "episode/step_limit_frac",
        "share of the episodes",
        "over the round's episodes: ended at the limit of steps",
        "falls",
        "high: give `agent.max_steps` more, or easier games",
    ),
    MetricInfo(
        "episode/length_frac",
        "share of the episodes",
        "over the round's episodes: no room for the next turn's prompt",
        "0",
        "above 0: give `data.max_prompt_length` more, or a shorter history",
    ),
    MetricInfo(
        "episode/turn_malformed_frac",
        "share of the turns",
        "over the round's turns: no readable action",
        "falls to 0",
        "high: the form is not learnt, or `agent.actions.strictness` is too strict",
    ),
    MetricInfo(
        "episode/turn_inadmissible_frac",
        "share of the turns",
        "over the round's turns: the game does not know the command",
        "falls",
        "rises: such a command costs nothing; give `agent.reward.inadmissible_penalty`",
    ),
    MetricInfo(
        ENV_STEPS,
        "steps",
        "number of steps that the workers did",
        "episodes times their length",
        "far fewer than turns: steps are lost, see the next rows",
    ),
    MetricInfo(
        "env/step_seconds_mean",
        "seconds",
        "mean over steps, in the engine process",
        "below 0.02",
        "high: the stock engine (a warning says why), or too few CPUs",
    ),
    MetricInfo(
        "env/step_seconds_max",
        "seconds",
        "longest step",
        "below 0.5",
        "near the limit of a step: the machine is overloaded",
    ),
    MetricInfo(
        "env/step_wait_seconds_mean",
        "seconds",
        "mean over steps, in the worker's queue",
        "below the mean of a step",
        "high: too few environment workers for the episodes",
    ),
    MetricInfo(
        "env/reset_count",
        "resets",
        "number of games started",
        "episodes",
        "more: episodes were restored",
    ),
    MetricInfo(
        "env/reset_seconds_mean",
        "seconds",
        "mean over resets, in the engine process",
        "below 0.2",
        "high: games are translated in it, because the cache folder cannot be written",
    ),
    MetricInfo(
        "env/reset_seconds_max",
        "seconds",
        "longest reset",
        "below 5",
        "near the limit of a reset: the machine is overloaded",
    ),
    MetricInfo(
        "env/reset_wait_seconds_mean",
        "seconds",
        "mean over resets, for translation and queue",
        "below 1 once games were seen",
        "high: games are new; they are translated once",
    ),
    MetricInfo(
        "env/step_timeout_count",
        "steps",
        "steps that were longer than their limit",
        "0",
        "above 0: an engine process hung and was replaced",
    ),
    MetricInfo(
        "env/reset_timeout_count",
        "resets",
        "resets or translations longer than their limit",
        "0",
        "above 0: likewise; the episode's line names the game",
    ),
    MetricInfo(
        "env/process_death_count",
        "processes",
        "engine processes that died or did not start",
        "0",
        "above 0: the kernel's log (memory) says why",
    ),
    MetricInfo(
        "env/worker_death_count",
        "actors",
        "environment workers brought back in the round after they died or did not answer",
        "0",
        "above 0: Ray has brought them back; see the kernel's log",
    ),
    MetricInfo(
        "env/episode_restart_count",
        "restarts",
        "episodes played again after their process was lost",
        "0",
        "above 0: costs time, and nothing else",
    ),
    MetricInfo(
        "env/episode_failed_count",
        "episodes",
        "episodes given up, counted as failed",
        "0",
        "above 0: a game that cannot be played or hangs; the log names it",
    ),
    MetricInfo(
        "env/resident_mb_max",
        "MiB",
        "largest engine process",
        "steady after some steps",
        "growing: give fewer episodes to each worker",
    ),
)


def metrics_table() -> str:
    """The table of metrics in Markdown, as docs/metrics.md shows it."""
    heading = ("metric", "unit", "reduction", "healthy", "otherwise")
    rows = [(f"`{metric.name}`", *metric[1:]) for metric in METRICS]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ("---",) * 5, *rows])


def describe_metrics() -> str:
    """The same for a terminal: a paragraph per metric, no line above 80 columns."""
    paragraphs = []
    for metric in METRICS:
        about = f"{metric.reduction}. Healthy: {metric.healthy}. Otherwise {metric.bad_means}."
        lines = textwrap.wrap(about, 80, initial_indent="    ", subsequent_indent="    ")
        paragraphs.append("\n".join([f"{metric.name} ({metric.unit})", *lines]))
    return "\n".join(paragraphs)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m holderpo.metrics", description="Explain this project's metrics."
    )
    parser.add_argument("--markdown", action="store_true", help="the table of docs/metrics.md")
    options = parser.parse_args(arguments)
    print(metrics_table() if options.markdown else describe_metrics())


if __name__ == "__main__":
    main()
