"""The one table of this project's metric names; ``python -m holderpo.metrics`` prints it."""

from __future__ import annotations

from typing import NamedTuple


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


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo("holder/p", "order", "value", "as scheduled", "schedule or resume is wrong"),
    MetricInfo(
        "holder/p_positive",
        "order",
        "value, with an order for each sign of the advantage",
        "as scheduled",
        "schedule or resume is wrong",
    ),
    MetricInfo(
        "holder/p_negative",
        "order",
        "value, with an order for each sign of the advantage",
        "as scheduled",
        "schedule or resume is wrong",
    ),
    MetricInfo(
        "holder/p_mean",
        "order",
        "mean over responses, where they have their own orders",
        "within the bounds",
        "at one bound throughout: the rule does nothing",
    ),
    MetricInfo(
        "holder/ess_frac",
        "fraction of tokens",
        "mean over responses",
        "0.7 to 1",
        "near 0: few tokens carry the gradient; 1 throughout: p has no effect",
    ),
    MetricInfo(
        "holder/ess_frac_positive",
        "fraction of tokens",
        "mean over responses with a positive advantage",
        "0.7 to 1",
        "as holder/ess_frac",
    ),
    MetricInfo(
        "holder/ess_frac_negative",
        "fraction of tokens",
        "mean over responses with a negative advantage",
        "0.7 to 1",
        "as holder/ess_frac",
    ),
    MetricInfo(
        "holder/ess_frac_min",
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
        "holder/log_ratio_std",
        "nats",
        "mean over responses of the spread over tokens",
        "0.01 to 0.5",
        "0: every ratio is 1 and p has no effect; above 1: updates are too large",
    ),
    MetricInfo(
        "holder/log_ratio_std_positive",
        "nats",
        "mean over responses with a positive advantage",
        "0.01 to 0.5",
        "as holder/log_ratio_std",
    ),
    MetricInfo(
        "holder/log_ratio_std_negative",
        "nats",
        "mean over responses with a negative advantage",
        "0.01 to 0.5",
        "as holder/log_ratio_std",
    ),
    MetricInfo(
        "holder/log_ratio_min",
        "nats",
        "minimum over tokens",
        "above -5",
        "a token's probability has collapsed",
    ),
    MetricInfo(
        "holder/log_ratio_max",
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
        "holder/clip_frac_high",
        "fraction of responses",
        "mean over responses, 0 with token clipping",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        "holder/clip_frac_low",
        "fraction of responses",
        "mean over responses, 0 with token clipping",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        "holder/clip_frac_dual",
        "fraction of responses",
        "mean over responses, with token clipping of the share of their tokens",
        "0",
        "above 0: the dual clip holds responses that became far too likely",
    ),
    MetricInfo(
        "holder/token_clip_frac_high",
        "fraction of tokens",
        "mean over responses of the share of tokens above 1 + clip_high with positive advantage",
        "0 to 0.2",
        "high: with token clipping these tokens have no gradient",
    ),
    MetricInfo(
        "holder/token_clip_frac_low",
        "fraction of tokens",
        "mean over responses of the share of tokens below 1 - clip_low with negative advantage",
        "0 to 0.2",
        "high: with token clipping these tokens have no gradient",
    ),
    MetricInfo(
        "holder/token_held_frac",
        "fraction of tokens",
        "mean over responses of the share of tokens held by the token clip, 0 without one",
        "0 to 0.2",
        "high: the clip, not p, decides what is learnt",
    ),
    MetricInfo(
        "holder/saturated_frac",
        "fraction of responses",
        "mean over responses",
        "0",
        "above 0: ratios are held at exp(20); far too large updates",
    ),
    MetricInfo(
        "group/no_signal_frac",
        "fraction of groups",
        "mean over groups",
        "below 0.8",
        "1: all rewards within every group are equal, nothing is learnt",
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
        "reward/truncated_frac",
        "fraction of responses",
        "mean over responses",
        "below 0.1",
        "high: responses do not end; raise max_response_length",
    ),
)


def metrics_table() -> str:
    """The table of metrics in Markdown, as the README shows it."""
    heading = ("metric", "unit", "reduction", "healthy", "otherwise")
    rows = [(f"`{metric.name}`", *metric[1:]) for metric in METRICS]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ("---",) * 5, *rows])


if __name__ == "__main__":
    print(metrics_table())
