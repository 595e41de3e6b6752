"""The first word of the command names what is evaluated."""

import pytest

from recipe.holderpo.evaluate import __main__ as evaluate


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--model", "m", "--out", "o"],
            "'--model' is no command; give math first, as in: evaluate math --model ...",
        ),
        (["--model=m"], "'--model=m' is no command; give math first"),
        (["maths", "--model", "m"], "'maths' is no command; give math first"),
        ([], "no command; give math first"),
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
