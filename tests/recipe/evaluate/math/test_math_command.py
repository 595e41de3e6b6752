"""Evaluation from the command line to the table, with answers from a script instead of vLLM."""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data_prep.parquet import verl_row, write_manifest, write_rows
from data_prep.tiny_model import ascii_tokenizer, save, tiny_qwen2
from holderpo.benchmarks.panels import Sampling
from holderpo.benchmarks.prompt import TEMPLATES, render
from holderpo.benchmarks.records import write_records
from holderpo.grading import Status, Verdict, grade
from recipe.holderpo.evaluate import evaluation_folder
from recipe.holderpo.evaluate.generation import Completion
from recipe.holderpo.evaluate.math import answers as evaluation_answers
from recipe.holderpo.evaluate.math import benchmark_data, evaluation_plan, math_command
from recipe.holderpo.evaluate.weights import fingerprint
from tests.recipe.launching import launched

NUM_PROBLEMS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save(folder, tiny_qwen2(max_tokens=1024))
    return folder


def write_set(data, name, *, template="none", count=NUM_PROBLEMS, **changes):
    rows = [
        verl_row(
            data_source=name,
            prompt=render(f"What is {index} + 1?", template),
            answer=[str(index + 1)],
            split="test",
            index=index,
            extra={"template": template, "gold_suspect": name == "minerva" and index == 5},
        )
        | changes
        for index in range(count)
    ]
    write_rows(data / name / "test.parquet", rows)


@pytest.fixture
def data(tmp_path):
    for name in ("math500", "minerva", "aime25"):
        write_set(tmp_path / "data", name)
    return tmp_path / "data"


class Screen:
    """The console without taking this process's output away."""

    def __init__(self, log_path):
        self.log_path = log_path
        self.screen = io.StringIO()
        Screen.last = self

    def say(self, text):
        self.screen.write(f"{text}\n")

    def fail(self, text):
        self.say(text)

    def fail_with(self, error):
        raise error


class Script:
    """Stands in for vLLM: says what the model answers, and stops where it is told to."""

    def __init__(self, answer, stop_after=None):
        self.answer, self.stop_after = answer, stop_after
        self.requests = []

    def generate(self, engine, requests):
        prompts = ascii_tokenizer().decode
        self.requests = list(requests)
        for number in reversed(range(len(requests))):
            if self.stop_after is not None and len(requests) - number > self.stop_after:
                raise KeyboardInterrupt
            request = requests[number]
            yield [Completion(number, *self.answer(prompts(request.prompt), request))]


def right(prompt, request):
    """The right answer to every problem but the first."""
    number = int(prompt.split("What is ")[1].split()[0])
    return f"It is \\boxed{{{number + 1 if number else 7}}}", "stop", 5


@pytest.fixture
def run(monkeypatch, data, model, tmp_path):
    monkeypatch.setattr(math_command, "Console", Screen)
    monkeypatch.setattr(evaluation_answers, "make_engine", lambda settings: settings)

    def run(*options, script=None, out="out"):
        script = script or Script(right)
        monkeypatch.setattr(evaluation_answers, "generate", script.generate)
        command = ["--model", str(model), "--data", str(data), "--out", str(tmp_path / out)]
        return math_command.main(
            [*command, "--device", "cpu", "--max-tokens", "64", *options]
        ), script

    return run


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_are_graded_recorded_and_in_the_table(run, tmp_path):
    status, script = run("--sets", "math500", "minerva")
    assert status == 0
    assert len(script.requests) == 2 * NUM_PROBLEMS
    assert all(request.seed is None for request in script.requests)
    numbers = summary(tmp_path / "out")
    values = {(one["set"], one["left_out"]): one["scores"][0]["value"] for one in numbers["sets"]}
    assert values == {
        ("math500", None): pytest.approx(5 / 6),
        ("minerva", None): pytest.approx(5 / 6),
        ("minerva", "without 1 suspect golds"): pytest.approx(4 / 5),
    }
    assert numbers["averages"] == []
    lines = sorted(read_lines(tmp_path / "out" / "math500.jsonl"), key=lambda line: line["index"])
    assert [line["status"] for line in lines] == ["wrong", *["correct"] * 5]
    assert lines[1] == {
        "set": "math500",
        "index": 1,
        "sample": 0,
        "seed": 0,
        "response": "It is \\boxed{2}",
        "finish_reason": "stop",
        "num_tokens": 5,
        "answer": "2",
        "status": "correct",
        "score": 1.0,
    }
    report = (tmp_path / "out" / "report.md").read_text()
    assert re.search(r"\| math500 \(6 of 500\) +\| pass@1 +\| 83\.3 +\|.* 0\.0 +\| 83\.3 ", report)
    assert re.search(r"\| math500 \(6 of 500\) +\| 6 +\| greedy, 64 tokens \| none +\| 5 ", report)
    assert "83.3" in Screen.last.screen.getvalue()


def test_every_sampled_answer_has_a_seed_of_its_own_that_stays(run, tmp_path):
    options = ["--sets", "aime25", "--sampling", "aime25", "temperature=0.7", "samples=4", "k=4"]
    _, script = run(*options, "--seeds", "0", "1")
    seeds = [request.seed for request in script.requests]
    assert len(set(seeds)) == len(seeds) == 2 * 4 * NUM_PROBLEMS
    _, again = run(*options, "--seeds", "1", out="again")
    assert {request.seed for request in again.requests} < set(seeds)
    numbers = summary(tmp_path / "out")["sets"][0]
    assert [score["metric"] for score in numbers["scores"]] == ["avg@4", "pass@4"]
    assert numbers["seeds"] == [0, 1]
    # A third seed adds only its own answers.
    _, third = run(*options, "--seeds", "0", "1", "2")
    assert len(third.requests) == 4 * NUM_PROBLEMS


def test_an_interrupted_evaluation_goes_on_where_it_was(run, tmp_path):
    command = ["--sets", "math500", "minerva"]
    status, _ = run(*command, script=Script(right, stop_after=4))
    assert status == 130
    path = tmp_path / "out" / "minerva.jsonl"
    done = read_lines(path)
    assert 0 < len(done) <= 4
    with path.open("a") as file:
        file.write('{"set": "minerva", "ind')
    status, script = run(*command)
    assert status == 0
    assert len(script.requests) == 2 * NUM_PROBLEMS - len(done)
    keys = Counter(line["index"] for line in read_lines(path))
    assert keys == dict.fromkeys(range(NUM_PROBLEMS), 1)
    run(*command, out="whole")
    assert summary(tmp_path / "out")["sets"] == summary(tmp_path / "whole")["sets"]
    # Nothing is left to do: vLLM is not even started.
    status, script = run(*command)
    assert (status, script.requests) == (0, [])


def cut_off(prompt, request):
    return *right(prompt, request)[:1], "length", 64


def test_truncated_answers_are_worth_nothing_unless_asked_and_can_be_graded_anew(run, tmp_path):
    run("--sets", "math500", script=Script(cut_off))
    numbers = summary(tmp_path / "out")["sets"][0]
    assert (numbers["scores"][0]["value"], numbers["failures"]["truncated"]) == (0.0, 1.0)
    assert read_lines(tmp_path / "out" / "math500.jsonl")[0]["status"] == "correct"
    status, _ = run("--sets", "math500", "--truncated", "grade")
    assert status == 2
    status, script = run("--sets", "math500", "--truncated", "grade", "--regrade")
    assert (status, script.requests) == (0, [])
    assert summary(tmp_path / "out")["sets"][0]["scores"][0]["value"] == pytest.approx(5 / 6)
    assert "Truncated answers are graded" in (tmp_path / "out" / "report.md").read_text()


def test_regrading_some_sets_and_problems_loses_no_answer(run, tmp_path):
    run("--sets", "math500", "minerva", script=Script(cut_off))
    assert run("--sets", "math500", "--limit", "2", "--regrade", "--truncated", "grade")[0] == 0
    assert [len(read_lines(tmp_path / "out" / f"{n}.jsonl")) for n in ("math500", "minerva")] == [
        NUM_PROBLEMS,
        NUM_PROBLEMS,
    ]
    # All of the set are graded by the new rule, and the other set keeps its own.
    status, script = run("--sets", "math500", "--truncated", "grade")
    assert (status, script.requests) == (0, [])
    assert summary(tmp_path / "out")["sets"][0]["scores"][0]["value"] == pytest.approx(5 / 6)
    assert run("--sets", "minerva")[0] == 0


def test_scores_of_two_rules_are_not_mixed_after_an_interruption(run, monkeypatch, capsys):
    run("--sets", "math500", "minerva", script=Script(cut_off))
    command = ["--sets", "math500", "minerva", "--truncated", "grade", "--regrade"]
    written = []

    def interrupted(path, records):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_records(path, records)

    monkeypatch.setattr(evaluation_answers, "write_records", interrupted)
    assert run(*command)[0] == 130
    for rule in ("zero", "grade"):
        assert run("--sets", "math500", "minerva", "--truncated", rule)[0] == 2
        assert "unknown until --regrade is finished" in capsys.readouterr().err
    monkeypatch.setattr(evaluation_answers, "write_records", write_records)
    assert run(*command)[0] == 0
    assert run("--sets", "math500", "minerva", "--truncated", "grade")[0] == 0


def test_what_timed_out_beside_generation_is_graded_once_more(run, tmp_path, monkeypatch):
    calls = []

    def busy(pairs):
        calls.append(len(pairs))
        late = len(calls) == 1
        return [Verdict(0.0, None, Status.TIMEOUT) if late else grade(*pair) for pair in pairs]

    monkeypatch.setattr(evaluation_answers, "grade_many", busy)
    run("--sets", "math500")
    assert calls == [1] * (NUM_PROBLEMS + 1)
    lines = read_lines(tmp_path / "out" / "math500.jsonl")
    assert Counter(line["status"] for line in lines) == {"correct": 5, "wrong": 1}
    assert summary(tmp_path / "out")["sets"][0]["failures"]["timeout"] == 0


def test_a_panel_of_some_problems_has_no_average(run, data, tmp_path):
    for name in ("aime24", "amc", "olympiadbench"):
        write_set(data, name)
    assert run("--panel", "table2", "--limit", "2")[0] == 0
    (average,) = summary(tmp_path / "out")["averages"]
    assert (average["name"], average["value"]) == ("average of panel table2", None)
    assert average["why_none"][0] == "aime24 has 2 of 30 problems"
    # More problems add to those that are there.
    assert len(run("--panel", "table2", "--limit", "3")[1].requests) == 5


def test_a_whole_panel_has_its_average(run, data, tmp_path):
    for name, count in sets_of_a_panel().items():
        write_set(data, name, count=count)
    assert run("--panel", "table6_7", "--max-tokens", "16")[0] == 0
    numbers = summary(tmp_path / "out")
    (average,) = numbers["averages"]
    values = [one["scores"][-1]["value"] for one in numbers["sets"] if not one["left_out"]]
    assert len(values) == 5
    assert average["value"] == pytest.approx(sum(values) / 5)
    assert average["interval"][0] < average["value"] < average["interval"][1]


def sets_of_a_panel():
    from holderpo.benchmarks.panels import PANELS, SETS

    return {name: SETS[name] for name in PANELS["table6_7"].sets}


def test_everything_wrong_is_listed_at_once_and_vllm_is_not_imported(tmp_path, data):
    (data / "amc").mkdir()
    (data / "amc" / "test.parquet").write_text("nonsense")
    command = ["--model", str(tmp_path / "nowhere"), "--data", str(data), "--out", str(tmp_path)]
    command += ["--sets", "aime24", "amc", "math", "--limit", "0", "--seeds", "1", "1"]
    command += ["--sampling", "amc", "samples=x", "--gpu-memory-utilization", "2"]
    code = (
        "import sys\nfrom recipe.holderpo.evaluate.math.math_command import main\n"
        f"status = main({command!r})\n"
        "assert not {'vllm', 'verl', 'ray'} & set(sys.modules), 'imported'\nsys.exit(status)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 2, shown.stderr
    for words in (
        "nowhere is not there",
        "python -m data_prep.aime24",
        "amc/test.parquet: no parquet file",
        "'math' is unknown; known are aime24",
        "--limit: 0",
        "--seeds: [1, 1]",
        "'samples=x'",
        "--gpu-memory-utilization: 2.0",
    ):
        assert words in shown.stderr, words
    assert len(shown.stderr.splitlines()) == 9
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-model-len", "1025"], "has 1024 positions"),
        (["--max-model-len", "12"], "6 prompts fill the model's 12 tokens (problems 0, 1, 2, 3, 4"),
        (["--device", "cuda"], "torch sees no GPU"),
        (["--tensor-parallel-size", "2"], "--tensor-parallel-size: 2, but there is a CPU; give"),
        (["--gpu-memory-utilization", "0.5"], "0.5 has no effect on a CPU"),
        (["--sampling", "all", "top_p=0.9"], "math500: top_p: 0.9 has no effect"),
        (["--revision", "main"], "--revision: 'main' is for names on the hub"),
    ],
)
def test_what_does_not_fit_the_model_is_said_before_it_is_loaded(run, capsys, options, message):
    if options == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    status, script = run("--sets", "math500", *options)
    assert (status, script.requests) == (2, [])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_source": "minerva"}, "row 0: not of this set (data_source is 'minerva')"),
        ({"extra_info": {"index": 1, "template": "r2"}}, "template 'r2' is unknown"),
        ({"extra_info": {"index": 1, "template": "r1"}}, "two rows have one index"),
        ({"extra_info": None}, "row 0: not of this set"),
    ],
)
def test_files_that_are_no_prepared_set_are_refused(data, changes, message):
    write_set(data, "math500", **changes)
    with pytest.raises(ValueError, match=r"python -m data_prep\.math500") as error:
        benchmark_data.read_benchmark(data, "math500")
    assert message in str(error.value)


def test_prompts_are_those_of_training():
    tokenizer = ascii_tokenizer()
    tokenizer.chat_template = "<{% for message in messages %}{{ message['content'] }}{% endfor %}>"

    def text(template):
        problem = benchmark_data.Problem(
            set="math500",
            index=0,
            messages=[{"role": "user", "content": render("1 + 1?", template)}],
            gold=("2",),
            template=TEMPLATES[template],
            gold_suspect=False,
        )
        return tokenizer.decode(benchmark_data.prompt_tokens(tokenizer, problem))

    # A whole prompt stays as it is; a question gets the model's own chat template.
    assert text("qwen_math") == render("1 + 1?", "qwen_math")
    assert text("none") == "1 + 1?"
    assert text("chat") == f"<{render('1 + 1?', 'chat')}>"


@pytest.mark.parametrize(
    ("same", "note"),
    [
        (True, None),
        (False, "math500: problems or answers differ from the reference's"),
        (None, "math500: not known to have the reference's problems"),
        ("another file", "math500: not known to have the reference's problems"),
    ],
)
def test_what_is_known_of_the_rows_is_said_beside_the_numbers(run, data, tmp_path, same, note):
    entry = write_rows(
        data / "math500" / "test.parquet",
        pq.read_table(data / "math500" / "test.parquet").to_pylist(),
    )
    if same == "another file":
        entry, same = {**entry, "sha256": "0"}, True
    write_manifest(data / "math500", [{**entry, "same_as_reference": same}])
    run("--sets", "math500")
    notes = [text.partition(" (")[0] for text in summary(tmp_path / "out")["notes"]]
    assert notes == ["Template of the prompts: none.", *([] if note is None else [note])]


def test_the_r1_template_ends_answers_at_its_tag(run, data, tmp_path):
    write_set(data, "math500", template="r1")
    _, script = run("--sets", "math500", "aime25")
    assert [request.stop for request in script.requests[::NUM_PROBLEMS]] == [("</answer>",), ()]
    numbers = summary(tmp_path / "out")
    assert numbers["settings"]["sets"]["math500"]["templates"] == ["r1"]
    assert "Template of the prompts: r1, none." in numbers["notes"]


def test_answers_are_shorter_where_the_model_has_no_room(run, tmp_path):
    _, script = run("--sets", "math500", "--max-model-len", "40")
    assert [request.max_tokens + len(request.prompt) for request in script.requests] == [40] * 6
    assert "6 of 6 problems have less than 64 tokens" in (tmp_path / "out/report.md").read_text()


def test_an_unknown_dtype_is_refused_at_once(run, capsys):
    with pytest.raises(SystemExit):
        run("--sets", "math500", "--dtype", "float23")
    assert "choose from" in capsys.readouterr().err


def test_one_evaluation_at_a_time_writes_into_a_folder(run, tmp_path, capsys):
    with evaluation_folder.locked(tmp_path / "out"):
        status, _ = run("--sets", "math500")
    assert status == 2
    assert "another evaluation writes" in capsys.readouterr().err


def test_check_only_says_what_would_be_done(run, tmp_path, capsys):
    status, script = run("--sets", "math500", "--check")
    assert (status, script.requests) == (0, [])
    assert "answers    6, of which 0 are there" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_an_answers_seed_depends_on_everything_that_names_it():
    problem = benchmark_data.Problem("math500", 1, [], (), TEMPLATES["none"], False)
    other = benchmark_data.Problem("amc", 1, [], (), TEMPLATES["none"], False)
    answers = [
        evaluation_plan.Answer(each, seed, sample)
        for each in (problem, other)
        for seed in range(3)
        for sample in range(3)
    ]
    seeds = [evaluation_plan.answer_seed(answer) for answer in answers]
    assert len(set(seeds)) == 18
    assert seeds[0] == 4230502023  # Stays the same in every version: records are resumed by it.


def test_the_fingerprint_follows_the_weights_and_not_the_place(model, tmp_path):
    before = fingerprint(model)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert fingerprint(copy) == before
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert fingerprint(copy) != before


def test_sampling_settings_reach_the_engine(run):
    options = ["--sets", "math500", "--sampling", "math500", "temperature=0.5", "top_p=0.9"]
    _, script = run(*options)
    assert script.requests[0].sampling == Sampling(0.5, 0.9, max_tokens=64)


def test_the_launcher_is_executable():
    assert Path("scripts/evaluate_math.sh").stat().st_mode & 0o100


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["Qwen/Qwen3-4B"], "--out outputs/evaluate/Qwen_Qwen3-4B --panel table2"),
        (["m", "--check"], "--out outputs/evaluate/m --panel table2 --check"),
        (["m", "--panel", "table6_7"], "--out outputs/evaluate/m --panel table6_7"),
        (["m", "--sets=amc"], "--out outputs/evaluate/m --sets=amc"),
        # Two runs have a checkpoint of the same name.
        (
            ["outputs/a/checkpoints/global_step_5/", "--sets", "amc"],
            "--out outputs/evaluate/a_checkpoints_global_step_5 --sets amc",
        ),
    ],
)
def test_the_launcher_names_the_output_after_the_model(tmp_path, arguments, options):
    (call,) = launched("evaluate_math.sh", tmp_path, *arguments)
    assert call == f"-m recipe.holderpo.evaluate math --model {arguments[0]} {options}"
