"""Every printed command: its options parse and its configuration composes. Nothing is launched."""

import argparse
import re
import runpy
import shlex
import sys

import pytest

from recipe.holderpo.main import config_dir
from tests.docs.pages import NAMES, REPOSITORY, command, shell_lines, spans, text_of
from tests.recipe.composing import composed
from tests.recipe.launching import run_launcher, write_python

# Programs of others, and of the shell.
OTHERS = ("export", "pip", ".venv/bin/ray", ".venv/bin/pre-commit", ".venv/bin/ruff")
OTHERS += (".venv/bin/mypy", "uv", "docker")
# They take a configuration and its overrides, for a run somewhere else.
ELSEWHERE = ("scripts/train_slurm.sh", "scripts/train_ray.sh")
WITHOUT_OPTIONS = ("holderpo.metrics",)
HYDRA = {"recipe.holderpo.main": "base", "verl.trainer.main_ppo": "ppo_trainer"}
HYDRA["recipe.holderpo.preflight"] = "base"
OVERRIDE = re.compile(r"[+~]?[a-z_@]+(\.[a-z_@]+)*=[^.<\s][^<\s]*")


class Parsed(BaseException):
    """Raised in place of what a command does once its options are read."""


@pytest.fixture
def only_parsing(monkeypatch):
    """Commands stop after their options; what they do not know they refuse as ever."""
    read = argparse.ArgumentParser.parse_known_args

    def parse_known(parser, *arguments):
        raise Parsed(*read(parser, *arguments))

    def parse(parser, *arguments):
        options, unknown = read(parser, *arguments)
        if unknown:
            parser.error(f"unrecognized: {unknown}")
        raise Parsed(options, unknown)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)


def check_python(words, monkeypatch):
    """``-m module ...`` or ``script.py ...``."""
    is_module = words[0] == "-m"
    program, *arguments = words[1:] if is_module else words
    if program in HYDRA:
        check_hydra(HYDRA[program], arguments)
        return
    if program in WITHOUT_OPTIONS:
        assert not arguments, f"{program} reads no options"
        return
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    try:
        if is_module:
            runpy.run_module(program, run_name="__main__")
        else:
            runpy.run_path(str(REPOSITORY / program), run_name="__main__")
    except Parsed as parsed:
        options, overrides = parsed.args
        if overrides:
            composed(options.config, overrides)
        if getattr(options, "prepare", None):
            _, *prepare = shlex.split(options.prepare.format(seed=0))
            check_python(prepare, monkeypatch)
    else:
        pytest.fail(f"{program} has not read its options, but done its work")


def launched(script, folder, arguments, variables):
    """The words of each call of Python by a launcher, except for its looks at the interpreter."""
    python = folder / ".venv/bin/python"
    write_python(python)
    python.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\nprintf "\\n\\0"\n')
    run = run_launcher(script.removeprefix("scripts/"), folder, *arguments, **variables)
    assert run.returncode == 0, run.stderr
    calls = [call.split("\0")[:-1] for call in run.stdout.split("\n\0")[:-1]]
    calls = [words for words in calls if words[0] != "-c"]
    assert calls, script
    return calls


def check_hydra(name, arguments):
    overrides = []
    for word in arguments:
        if word.startswith("--config-name="):
            name = word.partition("=")[2]
        elif word == "--config-dir=my_configs":
            # The user's own: tests/docs/test_own_rule.py.
            return
        elif word.startswith("--config-dir="):
            assert word == "--config-dir=configs", word
        else:
            overrides.append(word)
    composed(name, overrides)


def check(line, monkeypatch, folder):
    """One line of a shell."""
    if OVERRIDE.match(line.strip('"')):
        composed("demo", [line.strip('"')])
        return
    found = command(line)
    if found is None or found.words[0] in OTHERS:
        return
    program, *arguments = found.words
    if program == "sbatch":
        while program.startswith("-") or program == "sbatch":
            program, *arguments = arguments
        assert program == ELSEWHERE[0]
    if program in ELSEWHERE:
        config, *overrides = arguments
        check_hydra(config, overrides)
    elif program == "make":
        target = rf"^{arguments[0]}:"
        assert re.search(target, text_of("Makefile"), re.MULTILINE), line
    elif program.startswith("scripts/"):
        variables = {name: value for name, value in found.variables.items() if name != "PYTHON"}
        for words in launched(program, folder, arguments, variables):
            check_python(words, monkeypatch)
    elif program.rpartition("/")[2] in ("python", "python3"):
        check_python(arguments, monkeypatch)
    else:
        pytest.fail(f"a command of a kind that is not known here: {line}")


# Its folder is the user's own: tests/docs/test_add_a_task.py.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/add_a_task.md"])
def test_printed_commands_parse_and_compose(name, only_parsing, monkeypatch, tmp_path):
    for line in shell_lines(text_of(name)):
        if "<" not in line:
            check(line, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_overrides_in_the_text_compose(name):
    for span in spans(text_of(name)):
        words = span.strip('"').split()
        if all(OVERRIDE.fullmatch(word) for word in words):
            composed("math_smoke", words)


def test_every_configuration_of_the_tables_exists():
    for page, group in (("docs/methods.md", "method"), ("docs/control_of_p.md", "p")):
        files = {path.stem for path in (config_dir() / group).glob("*.yaml")}
        named = set(spans(text_of(page)))
        assert files <= named, f"{page} leaves out {files - named}"
