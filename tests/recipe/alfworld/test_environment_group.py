"""A group's view of one worker, with a handle that dies as Ray's do."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from recipe.holderpo.alfworld import environment_group
from recipe.holderpo.alfworld.environment_group import _Worker


def test_a_death_counts_once_whoever_meets_the_new_process_first(monkeypatch):
    monkeypatch.setattr(environment_group, "_LOOK_SECONDS", 0.02)
    pids = iter([1, 2])

    async def ping():
        return next(pids, 2)

    async def step():
        await asyncio.sleep(0.2)
        raise RayActorError

    handle = SimpleNamespace(ping=SimpleNamespace(remote=ping), step=SimpleNamespace(remote=step))

    async def call():
        worker = _Worker(handle, stall_seconds=5)
        with pytest.raises(RayActorError):
            await worker.call("step")
        for _ in range(2):
            await worker.comes_back()
        return worker.num_deaths

    assert asyncio.run(call()) == 1
