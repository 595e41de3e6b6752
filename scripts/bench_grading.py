"""Answers a second and latency of the mathematics grader, beside math-verify used directly.

    python scripts/bench_grading.py --data math500.jsonl --out outputs/bench_grading.json

The mix is made from a file of problems with their gold answers: 51 % right answers (as stored, or
in another form of the same value), 48 % wrong ones (6 % without a box), 1 % pathological ones; the
text around them is that of the problems, 1,200 characters on average. It is graded with and
without the pathological ones. `--adversarial` shows each kind of those, its time and verdict.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from math_verify import LatexExtractionConfig, parse, verify
from tqdm import tqdm

from holderpo.grading import Status, grade, grade_many
from holderpo.sheets import Sheet, fit, markdown

MEAN_CHARACTERS = 1200
SHARES = {"stored": 0.26, "rewritten": 0.25, "wrong": 0.42, "no_box": 0.06, "pathological": 0.01}
POOL_SECONDS = 1.0
# Golds that are no single expression, or an angle.
NO_EXPRESSION = r"[=,<>_]|text|begin|\\in|circ"
BOXED = [LatexExtractionConfig(boxed_match_priority=0)]


class Item(NamedTuple):
    """One answer to grade."""

    response: str
    gold: str
    is_right: bool
    kind: str


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table."""

    method: str
    with_pathological: bool
    num_answers: int
    answers_per_second: float
    p50_ms: float | None
    """Latency of an answer; none where they are graded side by side."""
    p99_ms: float | None
    max_seconds: float | None
    right_to_0: int
    wrong_to_1: int


def main() -> None:
    """Measure every method on both mixes, print the table."""
    arguments = parse_arguments()
    if arguments.adversarial:
        print(adversarial_table())
        return
    rows = [json.loads(line) for line in arguments.data.read_text().splitlines()]
    results = []
    for with_pathological in (True, False):
        items = make_mix(rows, arguments.num_answers, with_pathological, seed=arguments.seed)
        for method, function in METHODS.items():
            chosen = items if "ours" in method else items[: arguments.num_baseline]
            results.append(measure(method, function, chosen, with_pathological))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed {arguments.seed}\n")
    print(to_markdown(results))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        record = [dataclasses.asdict(result) for result in results]
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Throughput and latency of the grader.")
    add = parser.add_argument
    add("--data", type=Path, help="JSONL with `problem` and `answer`, such as MATH500")
    add("--num-answers", type=int, default=2000, help="default: %(default)s")
    add("--num-baseline", type=int, default=1000, help="of the slow methods (%(default)s)")
    add("--seed", type=int, default=0, help="of the mix (default: %(default)s)")
    add("--adversarial", action="store_true", help="only show each kind of pathological answer")
    add("--out", type=Path, help="also write the numbers there, as JSON")
    arguments = parser.parse_args()
    if not arguments.adversarial and (arguments.data is None or not arguments.data.exists()):
        parser.error(f"--data: {arguments.data}; give a file of problems and answers")
    if min(arguments.num_answers, arguments.num_baseline) < 100:
        parser.error("--num-answers, --num-baseline: give at least 100")
    return arguments


def make_mix(
    rows: Sequence[dict[str, str]], num_answers: int, with_pathological: bool, *, seed: int
) -> list[Item]:
    """The answers, shuffled; without pathological ones their place is taken by wrong ones.

    Args:
        rows: ``problem`` and ``answer`` of each.
        num_answers: how many.
        with_pathological: whether 1 % are.
        seed: of everything random.

    Returns:
        As many items.
    """
    rng = random.Random(seed)
    kinds: list[str] = []
    for kind, share in SHARES.items():
        kinds += [kind] * round(share * num_answers)
    kinds = (kinds + ["wrong"] * num_answers)[:num_answers]
    if not with_pathological:
        kinds = ["wrong" if kind == "pathological" else kind for kind in kinds]
    rng.shuffle(kinds)
    pathological = [answer for answer, _ in PATHOLOGICAL.values() if len(answer) < 10_000]
    items = []
    for kind in kinds:
        gold = str(rng.choice(rows)["answer"])
        answer = {
            "stored": lambda gold=gold: gold,
            "rewritten": lambda gold=gold: rewritten(gold, rng),
            "wrong": lambda gold=gold: wrong(gold, rows, rng),
            "no_box": lambda: "",
            "pathological": lambda: rng.choice(pathological),
        }[kind]()
        text = filler(rows, rng)
        end = f" The answer is {gold}." if kind == "no_box" else f" Therefore \\boxed{{{answer}}}."
        items.append(Item(text + end, gold, kind in ("stored", "rewritten"), kind))
    return items


def filler(rows: Sequence[dict[str, str]], rng: random.Random) -> str:
    """Text of problems, 100 to 2,300 characters, without boxes."""
    wanted = rng.uniform(100, 2 * MEAN_CHARACTERS - 100)
    text = ""
    while len(text) < wanted:
        text += str(rng.choice(rows)["problem"]).replace("\\boxed", "") + "\n"
    return text[: int(wanted)]


def rewritten(gold: str, rng: random.Random) -> str:
    """Another form of the same value, as models write them."""
    forms = [gold.replace("\\frac", "\\dfrac"), f" {gold} ", f"{{{gold}}}"]
    if re.fullmatch(r"-?\d+", gold):
        number = int(gold)
        forms += [f"x = {gold}", f"{gold}.0", f"\\frac{{{3 * number}}}{{3}}", f"{number:,}"]
    elif fraction := re.fullmatch(r"\\frac\{(\d+)\}\{(\d+)\}", gold):
        above, below = int(fraction[1]), int(fraction[2])
        forms += [f"{above}/{below}", f"\\frac{{{2 * above}}}{{{2 * below}}}"]
    elif re.search(r"sqrt|pi|\b[a-z]\b", gold) and not re.search(NO_EXPRESSION, gold):
        forms += [f"\\frac{{2({gold})}}{{2}}", f"({gold}) \\cdot 1"]
    return rng.choice(forms)


def wrong(gold: str, rows: Sequence[dict[str, str]], rng: random.Random) -> str:
    """A near miss or the answer of another problem, certainly another value."""
    if re.fullmatch(r"-?\d+", gold):
        return rng.choice([str(int(gold) + 1), str(10 * int(gold) + 3), f"{gold}.5"])
    if rng.random() < 0.5 and not re.search(NO_EXPRESSION, gold):
        return f"{gold}+1"
    # Another kind of answer: with digits where the gold has others.
    digits = sorted(re.findall(r"\d", gold))
    while True:
        other = str(rng.choice(rows)["answer"])
        if sorted(re.findall(r"\d", other)) != digits and not re.search(r"text|%", other + gold):
            return other
        if re.search(r"text|%", gold):
            return "\\frac{355}{113}"


def math_verify_alone(response: str, gold: str) -> bool:
    """math-verify on the whole response with its own limits: 5 s of alarm for each call."""
    parsed_gold = parse(f"\\boxed{{{gold}}}", BOXED)
    return bool(verify(parsed_gold, parse(response, BOXED)))


def one_by_one(
    items: Sequence[Item], judge: Callable[[str, str], bool]
) -> list[tuple[bool, float]]:
    """Verdict and seconds of each item in turn."""
    results = []
    for item in tqdm(items, disable=None):
        began = time.perf_counter()
        results.append((judge(item.response, item.gold), time.perf_counter() - began))
    return results


def ours_side_by_side(items: Sequence[Item]) -> list[tuple[bool, float]]:
    """All at once, as a batch."""
    verdicts = grade_many([(item.response, item.gold) for item in items])
    return [(verdict.score == 1, math.nan) for verdict in verdicts]


def ours_one_by_one(items: Sequence[Item]) -> list[tuple[bool, float]]:
    """One after the other, as a single caller sees it."""
    return one_by_one(items, lambda response, gold: grade(response, gold).score == 1)


def in_process(items: Sequence[Item]) -> list[tuple[bool, float]]:
    """math-verify in this process."""
    return one_by_one(items, math_verify_alone)


def in_two_processes(items: Sequence[Item]) -> list[tuple[bool, float]]:
    """math-verify in a pool of two, asked one by one, each waited for 1 s."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(str, range(4))

        def judge(response: str, gold: str) -> bool:
            try:
                return pool.apply_async(math_verify_alone, [response, gold]).get(POOL_SECONDS)
            except multiprocessing.TimeoutError:
                return False

        return one_by_one(items, judge)


METHODS = {
    "ours, side by side": ours_side_by_side,
    "ours, one by one": ours_one_by_one,
    "math-verify in process": in_process,
    "math-verify, Pool(2), one by one": in_two_processes,
}


def measure(
    method: str,
    function: Callable[[Sequence[Item]], list[tuple[bool, float]]],
    items: Sequence[Item],
    with_pathological: bool,
) -> Result:
    """Run one method, warm, and compare its verdicts with what is known."""
    from holderpo.grading import grader

    grade_many([(f"\\boxed{{\\sqrt{{{number}}}}}", "x") for number in range(8)])
    grader.forget()
    began = time.perf_counter()
    results = function(items)
    seconds = time.perf_counter() - began
    latencies = [latency for _, latency in results if not math.isnan(latency)]
    percentiles = statistics.quantiles(latencies, n=100) if latencies else None
    pairs = list(zip(items, results, strict=True))
    return Result(
        method=method,
        with_pathological=with_pathological,
        num_answers=len(items),
        answers_per_second=len(items) / seconds,
        p50_ms=percentiles and 1e3 * percentiles[49],
        p99_ms=percentiles and 1e3 * percentiles[98],
        max_seconds=max(latencies) if latencies else None,
        right_to_0=sum(item.is_right and not said for item, (said, _) in pairs),
        wrong_to_1=sum(said and not item.is_right for item, (said, _) in pairs),
    )


def to_markdown(results: Sequence[Result]) -> str:
    """The table."""
    heading = ["method", "answers", "answers/s with 1 % pathological", "without"]
    heading += ["p50 / p99 / max with", "right to 0 (with / without)", "wrong to 1"]
    lines = []
    for method in METHODS:
        on, off = sorted(
            (result for result in results if result.method == method),
            key=lambda result: not result.with_pathological,
        )
        latency = "-"
        if on.p50_ms is not None and on.p99_ms is not None and on.max_seconds is not None:
            latency = f"{on.p50_ms:.2f} ms / {on.p99_ms:.0f} ms / {on.max_seconds:.2f} s"
        line = [method, f"{on.num_answers:,}", f"{on.answers_per_second:.0f}"]
        line += [f"{off.answers_per_second:.0f}", latency]
        line += [f"{on.right_to_0} / {off.right_to_0}", f"{on.wrong_to_1} / {off.wrong_to_1}"]
        lines.append(line)
    return "\n\n".join(map(markdown, fit(Sheet("", heading, lines))))


def nested(left: str, middle: str, right: str, depth: int) -> str:
    """``middle`` between that many of both."""
    return left * depth + middle + right * depth


# Answer and gold of each kind that makes math-verify run for seconds or for ever; all are wrong.
PATHOLOGICAL: dict[str, tuple[str, str]] = {
    "tower of three": ("9^{9^9}", "18"),
    "tower of six": ("2^{2^{2^{2^{2^2}}}}", "18"),
    "huge exponent": ("7^{12345678}", "18"),
    "power of a sum": ("(x+1)^{1000}", "(x+2)^{1000}"),
    "power of three terms": ("(x+y+z)^{200}", "x"),
    "factorial": ("1000000!", "18"),
    "factorials of factorials": ("((((9!)!)!)!)!", "18"),
    "hidden factorial": ("(10^6+1)!", "18"),
    "binomial": ("\\binom{10^7}{5 \\cdot 10^6}", "18"),
    "long sum": ("\\sum_{n=1}^{10^9} \\frac{1}{n^2}", "18"),
    "sum of sines": ("\\sum_{n=1}^{5000} \\sin(n)", "18"),
    "long product": ("\\prod_{n=1}^{10^7} n", "18"),
    "integral": ("\\int_0^1 x^x \\sin(x^x) e^{x^2} dx", "18"),
    "nested fractions": (nested("\\frac{1}{1+", "x", "}", 150), "18"),
    "nested roots": (nested("\\sqrt{1+", "x", "}", 200), "18"),
    "parentheses": (nested("(", "x", ")", 400), "18"),
    "large set": (f"\\{{{','.join(f'x^{{{n}}}' for n in range(250))}\\}}", "\\{x, y\\}"),
    "long sum of terms": ("+".join(f"\\sin({n}x)" for n in range(150)), "18"),
    "digits": ("3" * 1900, "\\pi"),
    "a million digits": ("3" * 1_000_000, "\\pi"),
    "a million characters": ("x + " * 250_000 + "1", "18"),
    "50,000 boxes": ("1} \\boxed{" * 50_000 + "2", "18"),
    "open boxes": ("1" + "\\boxed{" * 100_000, "18"),
    "code": ('__import__("os").system("echo 18")', "18"),
    "control sequences": ("\\input{/etc/passwd} \\def\\x{18}\\x", "18"),
}


def adversarial_table() -> str:
    """Each kind alone: characters, seconds, verdict."""
    grade("\\boxed{\\sqrt{2}+1}", "x")
    lines = ["| answer | characters | time | verdict |", "|---|---|---|---|"]
    for kind, (answer, gold) in PATHOLOGICAL.items():
        response = f"so \\boxed{{{answer}}}"
        began = time.perf_counter()
        verdict = grade(response, gold)
        seconds = time.perf_counter() - began
        # Right after it, an ordinary one.
        after = grade(f"\\boxed{{\\sqrt{{{len(lines) ** 2}}}}}", str(len(lines)))
        then = "" if after.status is Status.CORRECT else f", then {after.status}"
        lines.append(f"| {kind} | {len(response):,} | {seconds:.3f} s | {verdict.status}{then} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
