"""Tables of the laboratory's runs: what each arm reached, what its ratios did, differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from holderpo.lab.lab_arms import HELD_OUT_BEFORE, LabArm
from holderpo.lab.pair_statistics import improvement, interquartile_mean
from holderpo.lab.paired_differences import (
    ABOVE,
    BELOW,
    BEST_STATIC,
    FAMILIES,
    MAIN,
    NEITHER,
    Comparison,
    ReferenceArm,
    best_of,
    compare,
)
from holderpo.lab.planned_runs import RegimeRuns
from holderpo.sheets import Sheet
from holderpo.studies.arms import HELD_OUT, Bootstrap, Spread
from holderpo.studies.windows import FIRST_8, LAST_8

_NONE = "-"
_TAILS = ("log_ratio_min", "log_ratio_q05", "log_ratio_q95", "log_ratio_max")
_OTHER_OUTCOMES = (FIRST_8.heading, LAST_8.heading, HELD_OUT)


def outcome_sheet(runs: RegimeRuns) -> Sheet:
    """What each arm reached.

    Args:
        runs: of a regime.
    """
    headings = [MAIN, "sd", "middle half", FIRST_8.heading, LAST_8.heading]
    headings += ["held-out before", "held-out after", "collapsed", "ended lower"]
    return Sheet("", ["arm", "n", *headings], [_outcome_row(arm) for arm in runs.arms])


def _outcome_row(arm: LabArm) -> list[str]:
    spreads = arm.numbers.spreads
    columns = (FIRST_8.heading, LAST_8.heading, HELD_OUT_BEFORE, HELD_OUT)
    middle = f"{interquartile_mean(_values(spreads[MAIN])):.3f}" if MAIN in spreads else _NONE
    return [
        arm.name,
        f"{len(arm.results)} of {arm.num_planned}" if arm.missing else str(arm.num_planned),
        _with_interval(spreads.get(MAIN)),
        _sd(spreads.get(MAIN)),
        middle,
        *(_with_interval(spreads.get(heading)) for heading in columns),
        _of(*arm.numbers.collapsed),
        _of(sum(_ended_lower(arm)), len(arm.results)),
    ]


def _ended_lower(arm: LabArm) -> list[bool]:
    """Of each run: whether its last rounds were worse than its first."""
    if not arm.results:
        return []
    first, last = (arm.numbers.spreads[one.heading].by_seed for one in (FIRST_8, LAST_8))
    return [last[pair] < first[pair] for pair in first]


def ratio_sheet(runs: RegimeRuns) -> Sheet:
    """What clip and ratios did: means over all rounds, then over runs.

    Args:
        runs: of a regime.
    """
    headings = ["arm", "clipped", "ESS", "entropy: first 8", "last 8", "gradient norm", "skipped"]
    for sign in ("A > 0", "A < 0"):
        headings += [f"{sign}: clipped", "smallest", "5 %", "95 %", "largest"]
    return Sheet("", headings, [_ratio_row(arm) for arm in runs.arms])


def _ratio_row(arm: LabArm) -> list[str]:
    row = [
        arm.name,
        _mean(arm, "all", "clip_frac", "{:.3f}"),
        _mean(arm, "all", "ess_frac", "{:.3f}"),
        _mean(arm, "first8", "entropy", "{:.3f}"),
        _mean(arm, "last8", "entropy", "{:.3f}"),
        _mean(arm, "all", "grad_norm", "{:.3g}"),
        _mean(arm, "all", "skipped", "{:.3g}"),
    ]
    for sign in ("_positive", "_negative"):
        row.append(_mean(arm, "all", f"clip_frac{sign}", "{:.3f}"))
        row += [_mean(arm, "all", f"{tail}{sign}", "{:+.3f}") for tail in _TAILS]
    return row


def _mean(arm: LabArm, window: str, name: str, form: str) -> str:
    """Over the runs that have a finite value, whose number is said where it is not all."""
    values = [result.windows[window].get(name, math.nan) for result in arm.results.values()]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return _NONE
    text = form.format(statistics.fmean(finite))
    return text if len(finite) == len(values) else f"{text} ({len(finite)} of {len(values)} runs)"


def setting_sheet(regimes: Sequence[RegimeRuns], comparisons: Sequence[Comparison]) -> Sheet:
    """In how many settings, regimes with a clip range, each difference counts.

    Args:
        regimes: of a part.
        comparisons: all of it.
    """
    headings = ["arm", "against", *(f"settings {ABOVE}", BELOW, NEITHER, "lacking runs")]
    rows = []
    bases = dict.fromkeys(arm.base for runs in regimes for arm in runs.arms)
    for kind in (kind for kinds in FAMILIES for kind in kinds):
        own = [one for one in comparisons if one.reference.kind == kind]
        for base in bases:
            found = [one.verdict for one in own if one.arm.base == base]
            if found:
                rows.append([base, kind, *_count(found)])
    statics: dict[tuple[str, str], list[str | None]] = {}
    for one in comparisons:
        if one.reference.kind == BEST_STATIC and one.arm.is_static:
            statics.setdefault((one.regime, one.arm.clip), []).append(one.verdict)
    if statics:
        # Of an unfinished setting nothing is said before a difference is seen.
        found = [
            BELOW if BELOW in words else None if None in words else NEITHER
            for words in statics.values()
        ]
        rows.append(["any static order", BEST_STATIC, *_count(found)])
    return Sheet("", headings, rows)


def _count(verdicts: Sequence[str | None]) -> list[str]:
    return [str(verdicts.count(word)) for word in (ABOVE, BELOW, NEITHER, None)]


def difference_sheet(comparisons: Sequence[Comparison], *, is_corrected: bool = True) -> Sheet:
    """Arms against a reference, in the main outcome.

    Args:
        comparisons: of one regime, with one kind of reference.
        is_corrected: whether p-values are corrected, so that a difference can count.
    """
    headings = ["arm", "minus", "pairs", "left out", f"difference in {MAIN}", "sd", "p"]
    headings += ["p, corrected", "counts"] if is_corrected else []
    headings += ["better in", "by model", *_OTHER_OUTCOMES]
    return Sheet("", headings, [_difference_row(one, is_corrected) for one in comparisons])


def _difference_row(one: Comparison, is_corrected: bool) -> list[str]:
    difference, main = one.difference, one.main
    left_out = [
        f"{len(pairs)} only {name}"
        for name, pairs in (
            (one.arm.name, difference.only_arm),
            (one.reference.arm.name, difference.only_baseline),
        )
        if pairs
    ]
    named = [one.arm.name, one.reference.arm.name, str(len(difference.paired_seeds))]
    named.append("; ".join(left_out) or "none")
    corrected = [_p_value(one.corrected), one.verdict or _NONE] if is_corrected else []
    if main is None:
        return [*named, *[_NONE] * (5 + len(corrected) + len(_OTHER_OUTCOMES))]
    better = improvement(_values(main))
    return [
        *named,
        _with_interval(main, "+"),
        _sd(main),
        _p_value(one.p_value),
        *corrected,
        f"{better.share:.2f} ({better.interval.low:.2f} to {better.interval.high:.2f})",
        ", ".join(f"{seed}: {value:+.3f}" for seed, value in one.by_model.items()),
        *(_with_interval(difference.spreads.get(name), "+") for name in _OTHER_OUTCOMES),
    ]


def best_clip_sheet(runs: RegimeRuns, bootstrap: Bootstrap) -> Sheet | None:
    """Each arm at the clip range of its highest mean, against the best static order at its best.

    Args:
        runs: of a regime.
        bootstrap: for the intervals.

    Returns:
        The table; None where there is one clip range, or nothing to compare with.
    """
    static, num_pairs = best_of([arm for arm in runs.arms if arm.is_static and arm.results])
    if len(runs.clips) < 2 or static is None:
        return None
    reference = ReferenceArm(BEST_STATIC, static, num_pairs, False)
    rows = []
    for base in dict.fromkeys(arm.base for arm in runs.arms):
        best, _ = best_of([arm for arm in runs.arms if arm.base == base and arm.results])
        if best is None:
            continue
        difference = compare(runs, best, reference, bootstrap).main
        own = _with_interval(best.numbers.spreads[MAIN])
        is_same = best.name == static.name
        pairs = _NONE if difference is None else str(len(difference.by_seed))
        against = "the reference" if is_same else _with_interval(difference, "+")
        rows.append([best.name, own, pairs, against])
    headings = ["arm", MAIN, "pairs", f"difference from {static.name}"]
    return Sheet("", headings, rows)


def explain_references(chosen: Mapping[str, Sequence[ReferenceArm]]) -> Iterator[str]:
    """What was chosen to be compared with.

    Args:
        chosen: by clip range.
    """
    for clip, found in chosen.items():
        where = f"clip range {clip}: " if clip else ""
        for one in found:
            yield f"{where}{one.kind} is {one.arm.name}{_origin(one)}"
        if not found:
            yield f"{where}nothing to compare with yet"


def _origin(reference: ReferenceArm) -> str:
    chosen = f", chosen over {reference.num_pairs} of {reference.arm.num_planned} pairs"
    lent = ", of another part with this regime, as this one has none"
    return (chosen if reference.kind == BEST_STATIC else "") + (lent if reference.is_lent else "")


def _values(spread: Spread) -> list[float]:
    return list(spread.by_seed.values())


def _with_interval(spread: Spread | None, sign: str = "") -> str:
    if spread is None:
        return _NONE
    mean = f"{spread.mean:{sign}.3f}"
    if spread.interval is None:
        return mean
    low, high = spread.interval
    return f"{mean} ({low:{sign}.3f} to {high:{sign}.3f})"


def _sd(spread: Spread | None) -> str:
    return _NONE if spread is None or spread.sd is None else f"{spread.sd:.3f}"


def _p_value(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2g}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total}" if total else _NONE
