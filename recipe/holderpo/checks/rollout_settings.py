"""Whether the rollouts can be made, and are made as the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from recipe.holderpo.checks.batches import signal_share
from recipe.holderpo.checks.rows import AGENT_LOOPS
from recipe.holderpo.cpu.shortcuts import MANAGER

_ROLLOUT = "actor_rollout_ref.rollout"
ENGINES = ("vllm", "sglang", "trtllm")
# Below it most groups are silent unless the success rate is just right.
_ENOUGH_SIGNAL = 0.8


def rollout_problems(config: DictConfig) -> Iterator[str]:
    """Settings under which rollouts fail, or are not what the settings say.

    Args:
        config: with counts that are counts.

    Yields:
        One line per problem: field, value, fix.
    """
    rollout = config.actor_rollout_ref.rollout
    engines = ENGINES[:1] if config.device == "cpu" else ENGINES
    if rollout.name not in engines:
        yield f"{_ROLLOUT}.name: {rollout.name!r}; give {' or '.join(map(repr, engines))}"
    for name, of_data in (("prompt", "max_prompt_length"), ("response", "max_response_length")):
        if rollout[f"{name}_length"] != config.data[of_data]:
            yield (
                f"{_ROLLOUT}.{name}_length: {rollout[f'{name}_length']!r}; leave it out and set "
                f"data.{of_data} ({config.data[of_data]})"
            )
    if rollout.max_num_batched_tokens < rollout.max_num_seqs:
        yield (
            f"{_ROLLOUT}.max_num_batched_tokens: {rollout.max_num_batched_tokens}; vLLM takes a "
            f"token of each response at once, give at least the {rollout.max_num_seqs} of "
            "max_num_seqs, or lower that"
        )
    yield from _validation(rollout)
    yield from _agent_loops(rollout.agent)
    yield from _reward_workers(config)


def rollout_warnings(config: DictConfig) -> Iterator[str]:
    """Rollouts that teach little, or other than one may think.

    Args:
        config: a checked configuration.

    Yields:
        One line each.
    """
    rollout = config.actor_rollout_ref.rollout
    half, tenth = signal_share(rollout.n, 0.5), signal_share(rollout.n, 0.1)
    if half < _ENOUGH_SIGNAL:
        yield (
            f"{_ROLLOUT}.n is {rollout.n}: only {half:.0%} of the groups carry a signal where half "
            f"of the responses succeed, {tenth:.0%} where 1 in 10 does (give 4 or more)"
        )
    val = rollout.val_kwargs
    if not val.do_sample and val.temperature > 0:
        yield (
            f"{_ROLLOUT}.val_kwargs.do_sample has no effect: verl samples held-out answers at "
            f"val_kwargs.temperature, {val.temperature} (set do_sample=true, or temperature=0 for "
            "greedy answers)"
        )
    if val.temperature == 0 and (val.top_p != 1 or val.top_k > 0):
        yield (
            f"{_ROLLOUT}.val_kwargs.top_p and top_k have no effect: held-out answers are greedy at "
            "val_kwargs.temperature 0"
        )
    if rollout.ignore_eos:
        yield (
            f"{_ROLLOUT}.ignore_eos is true: every response goes on to data.max_response_length, "
            f"{config.data.max_response_length} tokens"
        )


def _validation(rollout: DictConfig) -> Iterator[str]:
    """Verl reads the temperature alone: 0 is greedy, whatever ``do_sample`` says."""
    val = rollout.val_kwargs
    if val.temperature > 0:
        return
    if val.do_sample:
        yield (
            f"{_ROLLOUT}.val_kwargs.do_sample: true, but val_kwargs.temperature 0 makes held-out "
            "answers greedy; give a temperature above 0, or do_sample=false"
        )
    if val.n > 1:
        yield (
            f"{_ROLLOUT}.val_kwargs.n: {val.n}; at val_kwargs.temperature 0 all of them are the "
            "same answer, give 1, or a temperature above 0 with do_sample=true"
        )


def _agent_loops(agent: DictConfig) -> Iterator[str]:
    path = agent.agent_loop_config_path
    if path is not None and not Path(str(path)).expanduser().is_file():
        yield f"{_ROLLOUT}.agent.agent_loop_config_path: {path} does not exist; give a file"
    if path is None and agent.default_agent_loop not in AGENT_LOOPS:
        yield (
            f"{_ROLLOUT}.agent.default_agent_loop: {agent.default_agent_loop!r}; give one of "
            f"{', '.join(AGENT_LOOPS)}, or name the file of yours in agent_loop_config_path"
        )


def _reward_workers(config: DictConfig) -> Iterator[str]:
    """Without workers only the shortcuts of device cpu score responses themselves."""
    manager = config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class")
    # Without the shortcuts verl's own manager and one worker are put in their place.
    scores_itself = config.device == "cpu" and (manager == MANAGER or not config.cpu.shortcuts)
    if config.reward.num_workers == 0 and not scores_itself:
        yield (
            "reward.num_workers: 0; no process would score the responses, give 1 or more (0 needs "
            f"device=cpu and {_ROLLOUT}.agent.agent_loop_manager_class={MANAGER})"
        )
