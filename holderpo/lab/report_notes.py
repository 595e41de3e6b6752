"""What a report says in sentences: how to read its tables, and what its runs were made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from holderpo.lab.cell_results import CellResult
from holderpo.lab.paired_differences import LARGEST_P, LEAST_DIFFERENCE, MAIN
from holderpo.lab.planned_runs import PlannedRuns, RegimeRuns
from holderpo.lab.settings import ArmSettings
from holderpo.studies.arms import Bootstrap, CollapseRule


def explain(rule: CollapseRule, bootstrap: Bootstrap) -> Iterator[str]:
    """What the columns of the tables are.

    Args:
        rule: of collapse.
        bootstrap: of the intervals.
    """
    yield (
        f"{MAIN}: mean sampled reward over all rounds of a run; first 8 and last 8: over those "
        "rounds. Held out: share of right greedy answers to 512 problems that no round has. "
        "All are means over n runs; a run is a seed and a seed of the model it starts from, "
        "written as 3.1."
    )
    yield (
        "In brackets: 95 % interval, percentiles of "
        f"{bootstrap.num_resamples} bootstrap resamples of the runs (for differences: of the "
        "pairs). It is too narrow for few runs: of normal values it has the true mean in 75 % of "
        "the cases with 3, 83 % with 5, 90 % with 10. Runs that start from one model have that "
        "in common: nothing here tells how far other models would differ."
    )
    yield (
        f"Middle half: mean {MAIN} without the best and the worst quarter of the runs "
        "(interquartile mean)."
    )
    yield (
        f"Collapsed: {rule.describe('sampled reward')}. Ended lower: the last 8 rounds are below "
        "the first 8."
    )
    yield (
        "Clipped: share of the responses whose ratio is clipped; with one clip per token, share "
        "of the tokens. ESS: effective share of a response's tokens. Log-ratios (nats): "
        "smallest and largest of a round; 5 % and 95 %: these quantiles within a response, "
        "averaged over responses. A: advantage. Skipped: updates of a round without a finite "
        "gradient. Gradient norm: before it is cut. All are means over rounds, then over runs."
    )
    yield (
        "A static order is one p throughout with one clip per response. The best one is that of "
        f"the highest mean {MAIN} in the same part, regime and clip range. It is chosen by the "
        "same runs that it is then compared in, which favours it; so it is also chosen on even "
        "seeds and compared on odd ones, not corrected. A part that has no such arm is "
        f"compared with those of other parts in the same regime, at clip range "
        f"{ArmSettings.clip_low:g} unless it has its own."
    )
    yield (
        "Differences are between runs of one seed and one model; runs without a partner are left "
        "out and counted. p: share of all choices of signs of the differences "
        f"in {MAIN} whose mean is as far from 0 (two-sided; with n pairs at least 2 / 2^n). "
        "p, corrected: by Holm, for all comparisons of the part with these two references; one "
        "that lacks runs counts among them. Schedules against their ascending twins are corrected "
        "by themselves. A difference counts, above or below, where the corrected p is less than "
        f"{LARGEST_P:g} and it is at least {LEAST_DIFFERENCE:g}. Other outcomes have intervals "
        "only, not corrected."
    )
    yield (
        "Better in: share of the pairs in which the arm is the better one (probability of "
        "improvement), equal ones counting half, with Wilson's interval. By model: mean "
        "difference for each seed of the model."
    )


def made_with(planned: PlannedRuns) -> Iterator[str]:
    """Versions of what computed, with the number of runs.

    Args:
        planned: protocol and results.
    """
    regimes = [runs for of_part in planned.parts.values() for runs in of_part]
    counted = Counter(
        ", ".join(f"{name} {version}" for name, version in result.versions.items())
        for result in results_of(regimes)
    )
    if counted:
        yield "Made with: " + "; ".join(f"{kind} ({n} runs)" for kind, n in counted.items()) + "."


def not_planned(planned: PlannedRuns) -> Iterator[str]:
    """Runs that do not count.

    Args:
        planned: protocol and results.
    """
    counted = Counter(f"{one.part}, {one.regime}, {one.arm}" for one in planned.others)
    if counted:
        kinds = "; ".join(f"{kind} ({number})" for kind, number in counted.items())
        yield f"Left out, as the protocol has no such run: {kinds}."


def exact_repeats(planned: PlannedRuns) -> Iterator[str]:
    """The same cell run again: what of a difference is not the arm's doing.

    Args:
        planned: protocol and results.
    """
    if not planned.repeats:
        return
    spans = [_span([run.windows["all"]["reward"] for run in runs]) for runs in planned.repeats]
    rounds = [
        max(map(_span, zip(*(run.curves["reward"] for run in runs), strict=False)))
        for runs in planned.repeats
    ]
    yield (
        f"Exact repeats: {len(spans)}, cells that were run more than once; the first run counts. "
        f"Within a cell {MAIN} differs by at most {max(spans):.4f}, the reward of a round by at "
        f"most {max(rounds):.4f}."
    )


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values)


def results_of(regimes: Sequence[RegimeRuns]) -> list[CellResult]:
    """Each run once, though two parts may share it.

    Args:
        regimes: of one or more parts.
    """
    found = {
        result.digest: result
        for runs in regimes
        for arm in runs.arms
        for result in arm.results.values()
    }
    return list(found.values())
