"""Prompts that fail while rollouts go on over an update: counted as verl's buffer drops them."""

from types import SimpleNamespace

import pytest
import verl.trainer.ppo.v1.replay_buffer as replay_buffer
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from recipe.holderpo.round_sampler import RoundSampler
from recipe.holderpo.run.progress import Progress
from recipe.holderpo.run.rollout_failures import RolloutError

FAIL, ANSWER = "failure", "finished"
# verl's buffers that ask for other prompts in place of those that failed.
ASYNC = ReplayBufferAsync, {"trainer_mode": "colocate_async"}
SYNC = (
    ReplayBuffer,
    {"trainer_mode": "sync", "sync_refill_failed_groups": True, "gen_batch_size": 1},
)
both = pytest.mark.parametrize("kind", [ASYNC, SYNC], ids=["async", "sync"])


class Rollouts:
    """Stands in for TransferQueue and the rollout workers: each prompt ends as it is told."""

    def __init__(self, monkeypatch, ends):
        self.items, self.ends, self.asked = {}, iter(ends), 0
        monkeypatch.setattr(
            replay_buffer, "tq", SimpleNamespace(kv_list=self.list, kv_clear=self.clear)
        )

    def ask(self, num_prompts):
        for _ in range(num_prompts):
            self.asked += 1
            uid = f"p{self.asked}"
            tag = {"is_prompt": True, "status": next(self.ends), "global_steps": 4}
            self.items[uid] = tag
            if tag["status"] == ANSWER:
                self.items[f"{uid}_0_0"] = {"status": "success"}

    def list(self):
        return {"train": dict(self.items)}

    def clear(self, partition_id, keys):
        for key in keys:
            self.items.pop(key, None)


def sampled(monkeypatch, tmp_path, ends, *, max_share, num_prompts=4, kind=ASYNC):
    rollouts = Rollouts(monkeypatch, ends)
    buffer_class, more = kind
    buffer = buffer_class(
        **more,
        trainer_config=OmegaConf.create(),
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(),
        refill_fn=rollouts.ask,
    )
    (tmp_path / "run.log").write_text(
        "Error in _run_prompt for uid=p1\nTraceback (most recent call last):\nValueError: no\n"
    )
    trainer = SimpleNamespace(
        config=OmegaConf.create({"rollout_poll_seconds": 0.01, "max_failed_prompts": max_share}),
        progress=Progress(),
        environments=None,
        log_path=tmp_path / "run.log",
        global_steps=4,
    )
    sampler = RoundSampler(trainer, buffer)
    assert buffer.poll_interval == 0.01
    rollouts.ask(num_prompts)
    batch, metrics = buffer.sample(global_steps=4, partition_id="train", batch_size=num_prompts)
    return rollouts, sampler, batch, metrics


@both
def test_prompts_that_may_fail_are_replaced_and_counted(monkeypatch, tmp_path, kind):
    ends = [ANSWER, FAIL, ANSWER, ANSWER, FAIL, ANSWER, FAIL, ANSWER, ANSWER]
    rollouts, sampler, batch, metrics = sampled(
        monkeypatch, tmp_path, ends, max_share=0.5, kind=kind
    )
    assert rollouts.asked == 6
    assert sorted(batch.keys) == ["p1_0_0", "p3_0_0", "p4_0_0", "p6_0_0"]
    assert metrics["rollout/failed_prompts"] == 2
    assert sampler.num_prompts == 4
    # The next round has failures of its own.
    rollouts.ask(2)
    _, metrics = sampler(global_steps=5, partition_id="train", batch_size=2)
    assert metrics["rollout/failed_prompts"] == 1


@both
@pytest.mark.parametrize(("max_share", "num_failed"), [(0.0, 1), (0.5, 3)])
def test_a_run_whose_prompts_go_on_failing_ends(monkeypatch, tmp_path, max_share, num_failed, kind):
    """verl would ask for others for ever."""
    expected = f"^{num_failed} of 4 prompts failed in step 4 .*ValueError: no"
    ends = [ANSWER, ANSWER, ANSWER, *[FAIL] * 1000]
    with pytest.raises(RolloutError, match=expected):
        sampled(monkeypatch, tmp_path, ends, max_share=max_share, kind=kind)
