"""Rollouts are made as the settings say, and something scores them."""

import pytest

from recipe.holderpo.checks.rows import AGENT_LOOPS
from recipe.holderpo.cpu.shortcuts import MANAGER
from tests.recipe.checks.checking import FOUR_GPUS, ROLLOUT, refusals, warnings_of

VAL = f"{ROLLOUT}.val_kwargs"
AGENT = f"{ROLLOUT}.agent"
UNSCORED = "reward.num_workers: 0; no process would score the responses, give 1 or more"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (f"{VAL}.n=8", f"{VAL}.n: 8; at val_kwargs.temperature 0 all of them are the same answer"),
        (
            f"{VAL}.do_sample=true",
            f"{VAL}.do_sample: true, but val_kwargs.temperature 0 makes held-out answers greedy",
        ),
        (
            f"{ROLLOUT}.max_num_batched_tokens=511",
            f"{ROLLOUT}.max_num_batched_tokens: 511; vLLM takes a token of each response at once, "
            "give at least the 512 of max_num_seqs",
        ),
        (f"{ROLLOUT}.response_length=10", f"{ROLLOUT}.response_length: 10; leave it out and set"),
        (f"{ROLLOUT}.prompt_length=10", f"{ROLLOUT}.prompt_length: 10; leave it out and set"),
        (f"{ROLLOUT}.name=sglang", f"{ROLLOUT}.name: 'sglang'; give 'vllm'"),
        (f"{FOUR_GPUS} {ROLLOUT}.name=hf", f"{ROLLOUT}.name: 'hf'; give 'vllm' or 'sglang'"),
        (
            f"{AGENT}.default_agent_loop=single_turn",
            f"{AGENT}.default_agent_loop: 'single_turn'; give one of single_turn_agent, tool_agent",
        ),
        (
            f"{AGENT}.agent_loop_config_path=no_such.yaml",
            f"{AGENT}.agent_loop_config_path: no_such.yaml does not exist",
        ),
        (f"{FOUR_GPUS} reward.num_workers=0", UNSCORED),
        (f"{FOUR_GPUS} reward.num_workers=0 +{AGENT}.agent_loop_manager_class={MANAGER}", UNSCORED),
        (f"{AGENT}.agent_loop_manager_class=null", UNSCORED),
        (f"{AGENT}.agent_loop_manager_class=my.Manager", UNSCORED),
    ],
)
def test_rollouts_that_would_fail_or_mislead_are_refused(overrides, expected, existing):
    (line,) = refusals(existing, overrides)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "cpu.shortcuts=false",
        "reward.num_workers=2",
        f"reward.num_workers=1 {AGENT}.agent_loop_manager_class=null",
        f"{VAL}.n=8 {VAL}.temperature=0.7 {VAL}.do_sample=true {VAL}.top_p=0.95",
        f"{ROLLOUT}.max_num_batched_tokens=512",
        f"{AGENT}.default_agent_loop=single_turn_any_tokenizer",
        FOUR_GPUS,
    ],
)
def test_others_pass_in_silence(overrides, existing):
    assert warnings_of(existing, overrides) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            f"{VAL}.temperature=0.6 {VAL}.n=4",
            f"{VAL}.do_sample has no effect: verl samples held-out answers at "
            "val_kwargs.temperature, 0.6",
        ),
        (f"{VAL}.top_p=0.9", f"{VAL}.top_p and top_k have no effect: held-out answers are greedy"),
        (f"{ROLLOUT}.ignore_eos=true", f"{ROLLOUT}.ignore_eos is true: every response goes on to"),
    ],
)
def test_what_is_done_otherwise_warns(overrides, expected, existing):
    (line,) = warnings_of(existing, overrides)
    assert line.startswith(expected)


def test_verl_samples_held_out_answers_by_temperature_alone():
    """What the refusals and the warning rest on."""
    import inspect

    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    worker = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    source = inspect.getsource(worker.generate_sequences) + inspect.getsource(worker._run_prompt)
    assert "val_kwargs.temperature" in source
    assert "val_kwargs.do_sample" not in source


def test_the_agent_loops_are_those_registered():
    from verl.experimental.agent_loop import agent_loop

    import recipe.holderpo.plugin  # noqa: F401  (registers ours)

    assert set(agent_loop._agent_loop_registry) == set(AGENT_LOOPS)
