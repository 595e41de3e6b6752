"""What an evaluation will do, and everything that is wrong with it, before vLLM is imported."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from holderpo.benchmarks.panels import Sampling, parse_change, plan_sets
from holderpo.records_folder import settings_conflicts
from recipe.holderpo.evaluate.engine_options import (
    choose_device,
    choose_dtype,
    load_tokenizer,
    longest_context,
)
from recipe.holderpo.evaluate.evaluation_folder import PlanError, out_problems
from recipe.holderpo.evaluate.generation import Request
from recipe.holderpo.evaluate.math.benchmark_data import (
    Benchmark,
    Problem,
    prompt_tokens,
    read_benchmark,
)
from recipe.holderpo.evaluate.weights import Model, locate_model

ZERO, GRADE = "zero", "grade"
_LISTED = 5


@dataclass(frozen=True)
class Answer:
    """One answer that is wanted."""

    problem: Problem
    """To which problem."""
    seed: int
    """Of the evaluation; 0 for a greedy answer."""
    sample: int
    """Number among those of problem and seed."""

    @property
    def key(self) -> tuple[int, int, int]:
        """As of :class:`holderpo.benchmarks.records.Record`."""
        return self.problem.index, self.seed, self.sample


@dataclass(frozen=True)
class EvaluationPlan:
    """A checked evaluation."""

    arguments: argparse.Namespace
    """Of the command line."""
    model: Model
    """What is evaluated."""
    device: str
    """``cpu`` or ``cuda``."""
    dtype: str
    """Of the weights."""
    context: int
    """Longest prompt plus answer that the model takes, tokens."""
    samplings: Mapping[str, Sampling]
    """Of each set."""
    benchmarks: Mapping[str, Benchmark]
    """Each set, whole."""
    prompts: Mapping[str, Mapping[int, list[int]]]
    """Tokens by set and index, of the wanted problems."""
    notes: list[str] = field(default_factory=list)
    """What should be known beside the numbers."""

    def settings(self) -> dict[str, Any]:
        """What makes the answers; see :mod:`holderpo.records_folder`."""
        return {
            "model": self.model.identity(),
            "engine": {"device": self.device, "dtype": self.dtype, "context": self.context},
            "sets": {
                name: {
                    "data_sha256": self.benchmarks[name].sha256,
                    "templates": list(self.benchmarks[name].templates),
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "max_tokens": sampling.max_tokens,
                    "truncated": self.arguments.truncated,
                }
                for name, sampling in self.samplings.items()
            },
        }

    def problems(self, name: str) -> tuple[Problem, ...]:
        """The problems wanted of a set."""
        return self.benchmarks[name].problems[: self.arguments.limit]

    def answers(self, name: str) -> Iterator[Answer]:
        """All answers wanted of a set, those of the first seed first."""
        sampling = self.samplings[name]
        for seed in [0] if sampling.greedy else self.arguments.seeds:
            for problem in self.problems(name):
                for sample in range(sampling.samples):
                    yield Answer(problem, seed, sample)

    def request(self, answer: Answer) -> Request:
        """How an answer is generated."""
        problem = answer.problem
        sampling = self.samplings[problem.set]
        prompt = self.prompts[problem.set][problem.index]
        return Request(
            prompt=prompt,
            sampling=sampling,
            seed=None if sampling.greedy else answer_seed(answer),
            max_tokens=min(sampling.max_tokens, self.context - len(prompt)),
            stop=problem.template.stop,
        )

    @property
    def longest_tokens(self) -> int:
        """Longest prompt plus answer wanted."""
        return max(
            min(len(prompt) + self.samplings[name].max_tokens, self.context)
            for name, prompts in self.prompts.items()
            for prompt in prompts.values()
        )


def answer_seed(answer: Answer) -> int:
    """Seed of one answer, unlike that of any other: from set, problem, seed and sample."""
    text = f"{answer.problem.set}/{answer.problem.index}/{answer.seed}/{answer.sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def make_plan(arguments: argparse.Namespace) -> EvaluationPlan:
    """Check everything that can be checked without vLLM.

    Args:
        arguments: of the command line.

    Returns:
        The plan.

    Raises:
        PlanError: with all that is wrong; what the model has to be loaded for is only looked at
            if the rest is right.
    """
    problems = list(_argument_problems(arguments))
    changes = []
    for words in arguments.sampling:
        try:
            changes.append(parse_change(words))
        except ValueError as error:
            problems.append(str(error))
    samplings, wrong = plan_sets(arguments.panel, arguments.sets, changes, arguments.max_tokens)
    problems += wrong
    benchmarks = {}
    for name in samplings:
        try:
            benchmarks[name] = read_benchmark(arguments.data, name)
        except ValueError as error:
            problems.append(str(error))
    try:
        model = locate_model(arguments.model, arguments.revision)
    except ValueError as error:
        problems.append(str(error))
    device, wrong = choose_device(arguments)
    problems += wrong
    if problems:
        raise PlanError(problems)
    plan = _with_model(arguments, model, device, samplings, benchmarks)
    # A checkpoint that is not exported yet has no fingerprint: looked at again afterwards.
    if model.actor is None:
        check_settings(plan)
    return plan


def check_settings(plan: EvaluationPlan) -> None:
    """Refuse to add to answers that were made otherwise.

    Args:
        plan: with a model that is exported.

    Raises:
        PlanError: naming each difference.
    """
    settings = plan.settings()
    if plan.arguments.regrade:
        for of_set in settings["sets"].values():
            del of_set["truncated"]
    if conflicts := settings_conflicts(plan.arguments.out, settings):
        raise PlanError(conflicts)


def _argument_problems(arguments: argparse.Namespace) -> Iterator[str]:
    for name in ("limit", "max_tokens", "max_model_len", "max_num_seqs", "tensor_parallel_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            yield f"--{name.replace('_', '-')}: {value}; give 1 or more"
    if len(set(arguments.seeds)) < len(arguments.seeds):
        yield f"--seeds: {arguments.seeds}; give each once"
    yield from out_problems(arguments.out)


def _with_model(
    arguments: argparse.Namespace,
    model: Model,
    device: str,
    samplings: Mapping[str, Sampling],
    benchmarks: Mapping[str, Benchmark],
) -> EvaluationPlan:
    """What needs the model's configuration and tokenizer."""
    config, tokenizer = load_tokenizer("--model", model)
    needs_chat = [
        name
        for name, benchmark in benchmarks.items()
        if any(not problem.template.complete for problem in benchmark.problems)
    ]
    if needs_chat and not tokenizer.chat_template:
        raise PlanError(
            [
                f"--model: {model.path} has no chat template, which the prompts of "
                f"{', '.join(needs_chat)} need; prepare them with --template qwen_math"
            ]
        )
    context = longest_context(arguments.max_model_len, model, config)
    prompts = {
        name: {
            problem.index: prompt_tokens(tokenizer, problem)
            for problem in benchmark.problems[: arguments.limit]
        }
        for name, benchmark in benchmarks.items()
    }
    problems = list(_room_problems(prompts, context))
    if problems:
        raise PlanError(problems)
    return EvaluationPlan(
        arguments=arguments,
        model=model,
        device=device,
        dtype=choose_dtype(arguments, device),
        context=context,
        samplings=samplings,
        benchmarks=benchmarks,
        prompts=prompts,
        notes=[*_notes(arguments, samplings, prompts, context), *_rows_notes(benchmarks)],
    )


def _room_problems(prompts: Mapping[str, Mapping[int, list[int]]], context: int) -> Iterator[str]:
    for name, by_index in prompts.items():
        full = [index for index, prompt in by_index.items() if len(prompt) >= context]
        if full:
            listed = ", ".join(map(str, full[:_LISTED])) + (", ..." if full[_LISTED:] else "")
            yield (
                f"{name}: {len(full)} prompts fill the model's {context} tokens (problems "
                f"{listed}); give a model with more positions, or --max-model-len"
            )


def _rows_notes(benchmarks: Mapping[str, Benchmark]) -> Iterator[str]:
    templates = dict.fromkeys(
        name for benchmark in benchmarks.values() for name in benchmark.templates
    )
    yield f"Template of the prompts: {', '.join(templates)}."
    for name, benchmark in benchmarks.items():
        if benchmark.same_as_reference is False:
            yield f"{name}: problems or answers differ from the reference's ({benchmark.path})."
        elif benchmark.same_as_reference is None:
            yield f"{name}: not known to have the reference's problems ({benchmark.path})."


def _notes(
    arguments: argparse.Namespace,
    samplings: Mapping[str, Sampling],
    prompts: Mapping[str, Mapping[int, list[int]]],
    context: int,
) -> Iterator[str]:
    if arguments.limit is not None:
        yield f"Only the first {arguments.limit} problems of each set (--limit)."
    if arguments.truncated == GRADE:
        yield "Truncated answers are graded like others (--truncated grade); training gives them 0."
    if len(arguments.seeds) > 1 and all(sampling.greedy for sampling in samplings.values()):
        yield "--seeds has no effect: all answers are greedy."
    for name, by_index in prompts.items():
        wanted = samplings[name].max_tokens
        short = sum(len(prompt) + wanted > context for prompt in by_index.values())
        if short:
            yield (
                f"{name}: {short} of {len(by_index)} problems have less than {wanted} tokens for "
                f"their answer, as prompt and answer must fit into {context}."
            )
