"""One comparison in a grading process: what several golds come to, and its limit of CPU time."""

import signal

import pytest

from holderpo.grading import symbolic, worker


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["wrong", "correct", "error"], "correct"),
        (["wrong", "timeout"], "timeout"),
        (["timeout", "error"], "error"),
        (["unparseable", "wrong"], "wrong"),
        (["unparseable", "unparseable"], "unparseable"),
    ],
)
def test_of_several_golds_a_right_one_decides_and_else_what_is_undecided(outcomes, expected):
    given = dict(zip("abc", outcomes, strict=False))
    assert worker.judge("x", list(given), lambda answer, gold: given[gold]) == expected


def test_a_library_that_swallows_the_first_interruption_gets_another(monkeypatch):
    swallowed = []

    def stubborn(answer, gold):
        while True:
            try:
                while True:
                    pass
            except BaseException as error:
                swallowed.append(error)
                if len(swallowed) == 3:
                    raise

    monkeypatch.setattr(symbolic, "symbolic_match", stubborn)
    monkeypatch.setattr(worker, "_REPEAT_SECONDS", 0.05)
    before = signal.signal(signal.SIGPROF, worker._out_of_time)
    try:
        assert worker.limited("x", "y", 0.05) == "timeout"
    finally:
        signal.signal(signal.SIGPROF, before)
    assert len(swallowed) == 3
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
