"""A round that lacks responses is not trained on in silence."""

import pytest

from recipe.holderpo.run.rollout_failures import (
    RolloutError,
    check_failures,
    first_error,
    no_episodes,
)

# As verl and Ray write it; the second is of another prompt.
LOG = """\
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m INFO: all is well
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m ERROR::Error in _run_prompt for uid=1
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m Traceback (most recent call last):
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m   File "a.py", line 1, in f
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m     g()
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m KeyError: 'x'
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m During handling of it, another exception occurred:
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m Traceback (most recent call last):
\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m my.rewards.RewardError: no such answer
(CpuAgentLoopWorker pid=1234) ERROR::Error in _run_prompt for uid=1-3
(CpuAgentLoopWorker pid=1234) Traceback (most recent call last):
(CpuAgentLoopWorker pid=1234) ValueError: another
"""


def test_the_first_error_of_a_log(tmp_path):
    log = tmp_path / "run.log"
    log.write_text(LOG)
    assert first_error(log) == "my.rewards.RewardError: no such answer"
    log.write_text(LOG[LOG.index("(CpuAgentLoopWorker pid=1234) ERROR") :])
    assert first_error(log) == "ValueError: another"


@pytest.mark.parametrize("text", ["", "all is well\nValueError: of something else\n", "\xff\xfe"])
def test_a_log_without_an_error_of_a_rollout(tmp_path, text):
    log = tmp_path / "run.log"
    log.write_text(text)
    assert first_error(log) is None
    with pytest.raises(RolloutError, match=rf"the first error: see {log}$"):
        check_failures(1, 8, max_share=0.0, what="step 1", log=log)


@pytest.mark.parametrize(
    ("num_failed", "max_share", "is_refused"),
    [(0, 0.0, False), (1, 0.0, True), (2, 0.25, False), (3, 0.25, True), (8, 1.0, False)],
)
def test_a_share_may_fail(tmp_path, num_failed, max_share, is_refused):
    log = tmp_path / "run.log"
    log.write_text(LOG)
    if is_refused:
        with pytest.raises(RolloutError, match=rf"^{num_failed} of 8 prompts failed in step 3 \("):
            check_failures(num_failed, 8, max_share=max_share, what="step 3", log=log)
    else:
        check_failures(num_failed, 8, max_share=max_share, what="step 3", log=log)


def test_the_first_episode_that_failed_gives_the_reason(tmp_path):
    log = tmp_path / "run.log"
    log.write_text("all is well\n")
    assert str(no_episodes("step 3", log)).endswith(f"the first: see {log}")
    failed = "prompt ab-c, episode {}, game train/a game: failed after 2 turns: not over after 5 s"
    before = "\x1b[36m(CpuAgentLoopWorker pid=1234)\x1b[0m "
    log.write_text("".join(f"{before}{failed.format(number)}\n" for number in (4, 5)))
    assert str(no_episodes("step 3", log)) == (
        "every episode of step 3 failed and was left out (agent.failed_episodes: drop); "
        f"the first: {failed.format(4)}"
    )
    other = len(log.read_bytes())
    with log.open("a") as file:
        file.write(f"{before}{failed.format(6)}\n")
    assert str(no_episodes("step 4", log, begin=other)).endswith(f"the first: {failed.format(6)}")


def test_where_prompts_have_raised_their_error_is_the_cause(tmp_path):
    log = tmp_path / "run.log"
    log.write_text("prompt a, episode 0, game g: failed after 1 turns: it died\n" + LOG)
    assert str(no_episodes("step 3", log, num_failed=8)) == (
        "nothing is left of step 3: 8 prompts failed; the first error: "
        "my.rewards.RewardError: no such answer"
    )
