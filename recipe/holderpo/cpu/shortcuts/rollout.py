"""Rollout workers without the overhead per response that rules the steps of a tiny model.

On a cluster verl spends a few milliseconds and half a dozen messages on each response, spread over
many processes and hidden behind generation. On two cores they are most of a step, so here: one
router without a process, rewards computed by the rollout worker itself, one write per prompt group
instead of one per response, and one agent loop object instead of one per response.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, ClassVar

import hydra
import ray
import verl.trainer.ppo.v1.agent_loop_tq as agent_loop_tq
from omegaconf import DictConfig
from verl.experimental.agent_loop import agent_loop
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.protocol import DataProto
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from recipe.holderpo.cpu.patches import require
from recipe.holderpo.cpu.shortcuts.processes import group_writes

# ray.remote has replaced the class; this is the one to inherit from.
_StockWorker: Any = AgentLoopWorkerTQ.__ray_metadata__.modified_class


class LocalReward:
    """verl's reward worker in this process, with the calling form of a Ray actor handle."""

    def __init__(self, config: DictConfig) -> None:
        """Make the worker; it loads the configured reward function."""
        self._worker = RewardLoopWorker(config)

    @property
    def compute_score(self) -> LocalReward:
        """The method, callable as ``compute_score.remote(data)``."""
        return self

    def remote(self, data: DataProto) -> Awaitable[dict[str, Any]]:
        """Score one response."""
        return self._worker.compute_score(data)


class GroupedWrites:
    """Stands in for the TransferQueue module in ``agent_loop_tq``: gathers a prompt's responses.

    They are written together when the prompt's status changes to finished or failed; until then
    the trainer has no use for them.
    """

    def __init__(self, transfer_queue: ModuleType) -> None:
        """Wrap the real module."""
        self._transfer_queue = transfer_queue
        self.pending: ContextVar[dict[str, list[Any]] | None] = ContextVar("pending", default=None)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the real module's."""
        return getattr(self._transfer_queue, name)

    async def async_kv_batch_put(
        self, *, keys: list[str], fields: list[dict], tags: list[dict], partition_id: str
    ) -> None:
        """Remember one response (or the turns of one session) of the current prompt."""
        pending = self.pending.get()
        assert pending is not None, "responses are written while a prompt runs"
        pending["keys"] += keys
        pending["fields"] += fields
        pending["tags"] += tags

    async def async_kv_put(self, *, key: str, partition_id: str, tag: dict[str, Any]) -> None:
        """Write what is pending, then the prompt's status."""
        pending = self.pending.get()
        if pending and pending["keys"]:
            fields = list_of_dict_to_tensordict(pending["fields"])
            keys, tags = pending["keys"], pending["tags"]
            self.pending.set(None)
            await self._transfer_queue.async_kv_batch_put(
                keys=keys, fields=fields, tags=tags, partition_id=partition_id
            )
        await self._transfer_queue.async_kv_put(key=key, partition_id=partition_id, tag=tag)


@ray.remote
class CpuAgentLoopWorker(_StockWorker):
    """verl's rollout worker with rewards, writes and agent loops kept in this process."""

    def __init__(self, config: DictConfig) -> None:
        """As verl's, but nothing to ask yet."""
        super().__init__(config, llm_client=None)
        self._writes = GroupedWrites(agent_loop_tq.tq)
        group_writes(agent_loop_tq, self._writes)
        self._agent_loops: dict[str, Any] = {}

    def connect(
        self, llm_client: Any, teacher_client: Any, reward_loop_worker_handles: list[Any] | None
    ) -> None:
        """Take what verl's worker gets when it is made; without reward workers score here."""
        if reward_loop_worker_handles == []:
            reward_loop_worker_handles = [LocalReward(self.config)]
        self.llm_client = llm_client
        self.teacher_client = teacher_client
        self.reward_loop_worker_handles = reward_loop_worker_handles

    async def _run_prompt(self, *args: Any, **kwargs: Any) -> None:
        self._writes.pending.set({"keys": [], "fields": [], "tags": []})
        await super()._run_prompt(*args, **kwargs)

    async def _run_agent_loop(
        self,
        sampling_params: dict[str, Any],
        trajectory: dict[str, Any],
        *,
        agent_name: str,
        trace: bool = True,
        **kwargs: Any,
    ) -> Any:
        loop = self._single_turn_loop(agent_name)
        if loop is None or trace:
            return await super()._run_agent_loop(
                sampling_params, trajectory, agent_name=agent_name, trace=trace, **kwargs
            )
        output = await loop.run(sampling_params, **kwargs)
        return await self._agent_loop_postprocess(output, trajectory["validate"], **kwargs)

    def _single_turn_loop(self, agent_name: str) -> SingleTurnAgentLoop | None:
        """The one agent loop of that name if it keeps nothing between responses, else None."""
        if agent_name not in self._agent_loops:
            loop = hydra.utils.instantiate(
                config=require(agent_loop, "_agent_loop_registry")[agent_name],
                trainer_config=DictConfigWrap(config=self.config),
                server_manager=self.llm_client,
                tokenizer=self.tokenizer,
                processor=self.processor,
                hf_model_type=self.hf_model_type,
                dataset_cls=self.dataset_cls,
                data_config=DictConfigWrap(self.config.data),
                tools=ToolListWrap(self.tools),
            )
            stateless = type(loop) is SingleTurnAgentLoop
            self._agent_loops[agent_name] = loop if stateless else None
        return self._agent_loops[agent_name]


class CpuAgentLoopManager(AgentLoopManagerTQ):
    """verl's manager of rollout workers, with :class:`CpuAgentLoopWorker`.

    The workers can be started before the vLLM server they will ask, so that their imports run
    beside its start.
    """

    _early_workers: ClassVar[list[Any]] = []

    @classmethod
    def start_early(cls, config: DictConfig) -> None:
        """Start the workers now; they get their client from :meth:`create`."""
        num_workers = config.actor_rollout_ref.rollout.agent.num_workers
        cls._early_workers = [CpuAgentLoopWorker.remote(config) for _ in range(num_workers)]

    async def _init_agent_loop_workers(self) -> None:
        if not self._early_workers:
            self.start_early(self.config)
        self.agent_loop_workers = self._early_workers
        for worker in self.agent_loop_workers:
            await worker.connect.remote(
                self.llm_client, self.teacher_client, self.reward_loop_worker_handles
            )
