"""The first word of the command names what is evaluated."""

import subprocess
import sys

import pytest

from recipe.holderpo.evaluate import __main__ as evaluate


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--model", "m", "--out", "o"],
            "'--model' is no command; give math or alfworld first, as in: evaluate math --model",
        ),
        (["--model=m"], "'--model=m' is no command; give math or alfworld first"),
        (["--policy", "expert"], "as in: evaluate alfworld --policy ..."),
        (["maths", "--model", "m"], "'maths' is no command; give math or alfworld first"),
        ([], "no command; give math or alfworld first"),
    ],
)
def test_a_line_without_its_command_says_what_to_give(words, line, capsys):
    assert evaluate.main(words) == 2
    shown = capsys.readouterr().err
    assert line in shown
    assert len(shown.splitlines()) == 1


def test_help_names_the_commands(capsys):
    assert evaluate.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in evaluate.COMMANDS:
        assert f"see {name} --help" in shown.replace("\n", " ")


@pytest.mark.parametrize("name", evaluate.COMMANDS)
def test_each_command_has_its_own_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate.main([name, "--help"])
    assert ended.value.code == 0
    assert f"evaluate {name} [-h]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        (
            "math",
            (
                # The names of the task types are in the table of metrics.
                *(
                    "holderpo.alfworld.games",
                    "holderpo.alfworld.episode",
                    "holderpo.alfworld.turn_prompt",
                    "holderpo.alfworld.expert",
                    "holderpo.alfworld.engine",
                    "recipe.holderpo.alfworld",
                ),
                *("recipe.holderpo.evaluate.alfworld", "vllm", "ray", "verl"),
            ),
        ),
        (
            "alfworld",
            (
                "holderpo.grading",
                "recipe.holderpo.evaluate.math",
                *("vllm", "ray", "verl", "alfworld", "textworld"),
            ),
        ),
    ],
)
def test_a_command_imports_nothing_of_the_other(name, foreign):
    code = (
        "import sys\nfrom recipe.holderpo.evaluate.__main__ import main\n"
        f"try:\n    main([{name!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted({set(foreign)!r} & set(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stderr.splitlines()[-1] == "[]"
