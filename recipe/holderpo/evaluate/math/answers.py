"""Making the answers of an evaluation: generate, grade, record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from holderpo.benchmarks.records import TRUNCATED, Record, to_line, write_records
from holderpo.grading import Status, grade_many
from recipe.holderpo.evaluate.engine_options import engine_settings
from recipe.holderpo.evaluate.evaluation_folder import progress_bar
from recipe.holderpo.evaluate.generation import Completion, generate, make_engine
from recipe.holderpo.evaluate.math.evaluation_plan import ZERO, Answer, EvaluationPlan
from recipe.holderpo.run.console import Console

# Of each set, by key.
Records = dict[str, dict[tuple[int, int, int], Record]]


def records_path(plan: EvaluationPlan, name: str) -> Path:
    """The file with the answers to a set."""
    return plan.arguments.out / f"{name}.jsonl"


def make_answers(
    plan: EvaluationPlan, answers: Sequence[Answer], records: Records, console: Console
) -> None:
    """Generate, grade and record; grading goes on beside generation.

    Args:
        plan: of the evaluation.
        answers: that are missing.
        records: to which they are added.
        console: for the bar.
    """
    engine = make_engine(
        engine_settings(
            plan.arguments,
            plan.model,
            device=plan.device,
            dtype=plan.dtype,
            max_model_len=plan.longest_tokens,
        )
    )
    bar = progress_bar(console, len(answers), "answer")

    def record(finished: Sequence[tuple[Answer, Completion]]) -> None:
        for each in grade_completions(finished, plan.arguments.truncated):
            with records_path(plan, each.set).open("a", encoding="utf-8") as file:
                file.write(to_line(each))
            records[each.set][each.key] = each
        bar.update(len(finished))

    jobs: list[Future[None]] = []
    requests = [plan.request(answer) for answer in answers]
    with bar, ThreadPoolExecutor(max_workers=1) as grader:
        try:
            for completions in generate(engine, requests):
                finished = [(answers[each.number], each) for each in completions]
                jobs = [job for job in jobs if not (job.done() and job.result() is None)]
                jobs.append(grader.submit(record, finished))
            for job in jobs:
                job.result()
        except BaseException:
            grader.shutdown(wait=True, cancel_futures=True)
            raise
    # Verdicts that may be due to a machine busy with generation get a second try.
    regrade(plan, records, (Status.TIMEOUT, Status.ERROR))


def grade_completions(
    finished: Sequence[tuple[Answer, Completion]], truncated: str
) -> list[Record]:
    """Grade answers.

    Args:
        finished: each with what was wanted.
        truncated: what a cut off answer is worth: ``zero``, or ``grade`` as others.

    Returns:
        Their records.
    """
    verdicts = grade_many([(each.response, answer.problem.gold) for answer, each in finished])
    return [
        Record(
            set=answer.problem.set,
            index=answer.problem.index,
            sample=answer.sample,
            seed=answer.seed,
            response=each.response,
            finish_reason=each.finish_reason,
            num_tokens=each.num_tokens,
            answer=verdict.answer,
            status=str(verdict.status),
            score=0.0 if each.finish_reason == TRUNCATED and truncated == ZERO else verdict.score,
        )
        for (answer, each), verdict in zip(finished, verdicts, strict=True)
    ]


def regrade(
    plan: EvaluationPlan, records: Records, statuses: Collection[str] | None = None
) -> None:
    """Grade answers that are there with this grader and these settings.

    Args:
        plan: of the evaluation.
        records: changed, here and on disk.
        statuses: only those with one of these verdicts; None is all.
    """
    for name in plan.samplings:
        problems = {problem.index: problem for problem in plan.benchmarks[name].problems}
        finished = [
            (
                Answer(problems[each.index], each.seed, each.sample),
                Completion(0, each.response, each.finish_reason, each.num_tokens),
            )
            for each in records[name].values()
            if statuses is None or each.status in statuses
        ]
        if finished:
            graded = grade_completions(finished, plan.arguments.truncated)
            records[name].update((each.key, each) for each in graded)
            write_records(records_path(plan, name), records[name].values())
