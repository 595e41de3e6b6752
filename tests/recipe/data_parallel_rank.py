"""One rank of a real gloo group: a tiny FSDP2 model, micro-batches, our loss, one backward pass."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.workers.config import FSDPActorConfig

from holderpo.control.order import OrderBySign, UniformOrder
from recipe.holderpo.policy_loss import (
    HolderLossConfig,
    LossCall,
    compute_policy_loss_holder,
    loss_call,
)

NUM_ROWS, NUM_TOKENS, VOCABULARY, WIDTH = 16, 9, 11, 8
LEVELS = ("sequence", "token")
ORDER = OrderBySign(positive=UniformOrder(-1.5), negative=UniformOrder(2.0))


def model(dtype):
    """Per-token logits from the token before: enough for gradients that reach every layer."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(2)]
    return torch.nn.Sequential(
        torch.nn.Embedding(VOCABULARY, WIDTH),
        layers[0],
        torch.nn.Tanh(),
        layers[1],
        torch.nn.Tanh(),
        torch.nn.Linear(WIDTH, VOCABULARY),
    ).to(dtype)


def mini_batch(dtype):
    """Ragged rows of mixed sign, one of them padding."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCABULARY, (NUM_ROWS, NUM_TOKENS + 1), generator=generator)
    lengths = torch.randint(1, NUM_TOKENS + 1, (NUM_ROWS, 1), generator=generator)
    lengths[5] = 0
    mask = torch.arange(NUM_TOKENS) < lengths
    return {
        "tokens": tokens,
        "old_log_prob": -2.4 + 0.5 * torch.randn(mask.shape, generator=generator, dtype=dtype),
        "advantages": torch.randn(NUM_ROWS, 1, generator=generator, dtype=dtype) * mask,
        "response_mask": mask,
    }


def run(rank, world_size, folder):
    """Write every parameter's gradient, from rank 0, for both dtypes and clip levels."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store_{world_size}", rank=rank, world_size=world_size
    )
    mesh = init_device_mesh("cpu", (world_size,))
    gradients = {
        (str(dtype), level): _gradients(rank, world_size, mesh, dtype, level)
        for dtype in (torch.float32, torch.float64)
        for level in LEVELS
    }
    if rank == 0:
        torch.save(gradients, Path(folder) / f"gradients_{world_size}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _gradients(rank, world_size, mesh, dtype, level):
    network = model(dtype)
    for layer in network:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=8,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=0.2,
        clip_ratio_high=0.3,
        policy_loss=HolderLossConfig(clip_level=level),
    )
    batch = mini_batch(dtype)
    config.global_batch_info.update(
        dp_size=world_size, global_batch_size=NUM_ROWS, batch_num_tokens=None
    )
    mine = torch.arange(NUM_ROWS).chunk(world_size)[rank]
    for rows in mine.chunk(2):
        part = {name: values[rows] for name, values in batch.items()}
        tokens = part.pop("tokens")
        log_probs = network(tokens[:, :-1]).log_softmax(-1)
        chosen = log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1)
        with loss_call(LossCall(order=ORDER)):
            loss, _ = compute_policy_loss_holder(log_prob=chosen, **part, config=config)
        loss.backward()
    return {name: value.grad.full_tensor() for name, value in network.named_parameters()}
