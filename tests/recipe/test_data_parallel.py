"""Parameter gradients do not depend on the number of ranks: real gloo groups with FSDP2."""

import multiprocessing

import pytest
import torch

from holderpo.objective import clipped_surrogate
from tests.recipe import data_parallel_rank
from tests.recipe.sharing import made_once

pytestmark = pytest.mark.timeout(300)
WORLD_SIZES = (1, 2, 4)


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    """By number of ranks, then by dtype and clip level, then by parameter."""
    return made_once(tmp_path_factory, "ranks", of_all_groups)


def of_all_groups(folder):
    # verl is imported once, by the server that the ranks are forked from.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([data_parallel_rank.__name__])
    for size in WORLD_SIZES:
        ranks = [
            context.Process(target=data_parallel_rank.run, args=(rank, size, str(folder)))
            for rank in range(size)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(timeout=120)
            if process.is_alive():
                process.kill()
        assert [process.exitcode for process in ranks] == [0] * size
    return {size: torch.load(folder / f"gradients_{size}.pt") for size in WORLD_SIZES}


@pytest.mark.parametrize("level", data_parallel_rank.LEVELS)
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_gradients_equal_those_of_one_process(gradients, world_size, dtype, relative, level):
    network = data_parallel_rank.model(dtype)
    expected = one_process(network, dtype, level)
    found = gradients[world_size][str(dtype), level]
    assert found.keys() == expected.keys()
    for name, exact in expected.items():
        assert exact.abs().max() > 0
        off = (found[name] - exact).norm() / exact.norm()
        assert off <= relative, name


def one_process(network, dtype, level):
    """Without FSDP, in one batch: the plain definition of the mean over responses."""
    batch = data_parallel_rank.mini_batch(dtype)
    tokens = batch.pop("tokens")
    log_prob = network(tokens[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    loss, _ = clipped_surrogate(
        log_prob,
        batch["old_log_prob"],
        batch["advantages"],
        batch["response_mask"],
        p=torch.where(batch["advantages"].sum(-1) > 0, -1.5, 2.0),
        clip_low=0.2,
        clip_high=0.3,
        clip_level=level,
    )
    loss.mean().backward()
    return {name: value.grad for name, value in network.named_parameters()}
