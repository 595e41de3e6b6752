"""The plan's learning rates are those of verl's schedules."""

import pytest
import torch
from omegaconf import OmegaConf

from recipe.holderpo.checks.learning_rate import first_full_round, rate_share, warm_up_rounds
from recipe.holderpo.checks.settings import check_config
from tests.recipe.checks.checking import ACTOR
from tests.recipe.composing import composed

OPTIM = f"{ACTOR}.optim"
ROUNDS = 12


def settings(**changed):
    defaults = {
        "lr_scheduler_type": "cosine",
        "lr_warmup_steps": -1,
        "lr_warmup_steps_ratio": 0.0,
        "min_lr_ratio": None,
        "num_cycles": 0.5,
        "zero_indexed_step": True,
    }
    return OmegaConf.create(defaults | changed)


def of_verl(optim):
    """Shares of the rate in each round, by verl's own engine."""
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

    engine = FSDPEngine.__new__(FSDPEngine)
    engine.rank = 1
    engine.optimizer_config = OmegaConf.merge(optim, {"total_training_steps": ROUNDS})
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = engine._build_lr_scheduler(optimizer)
    shares = []
    for _ in range(ROUNDS):
        shares.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return shares


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"lr_warmup_steps": 5},
        {"lr_warmup_steps_ratio": 0.3},
        {"lr_warmup_steps": 5, "zero_indexed_step": False},
        {"lr_warmup_steps": 1, "zero_indexed_step": False},
        {"zero_indexed_step": False, "min_lr_ratio": 0.1},
        {"min_lr_ratio": 0.2, "num_cycles": 1.0},
        {"lr_warmup_steps": 12},
        {"lr_warmup_steps": 12, "zero_indexed_step": False},
        {"lr_scheduler_type": "constant", "lr_warmup_steps": 4},
        {"lr_scheduler_type": "constant", "zero_indexed_step": False},
    ],
)
def test_each_round_has_the_rate_of_verl(changed):
    optim, shares = settings(**changed), of_verl(settings(**changed))
    assert [rate_share(optim, ROUNDS, n) for n in range(1, ROUNDS + 1)] == pytest.approx(shares)
    full = first_full_round(optim, ROUNDS)
    if warm_up_rounds(optim, ROUNDS):
        assert full == next((n for n, share in enumerate(shares, 1) if share == 1.0), ROUNDS + 1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # The demo's: 19 of the 20 steps that the cosine takes are behind in the last round.
        ("", "warm-up of 5 rounds, in full from round 6 on, cosine to 1.23e-06 in round 25"),
        (f"{OPTIM}.zero_indexed_step=false", "in full from round 5 on, cosine to 0 in round 25"),
        # What comes after the run's end is not promised.
        (f"{OPTIM}.lr_warmup_steps=25", "learning rate 0.0002, warm-up of 25 rounds"),
        (f"{OPTIM}.lr_warmup_steps=24", "in full from round 25 on, cosine to 0.0002 in round 25"),
        (f"{OPTIM}.lr_warmup_steps=-1 {OPTIM}.lr_scheduler_type=constant", "learning rate 0.0002"),
    ],
)
def test_the_plan_says_what_the_last_round_has(overrides, expected, existing):
    lines = check_config(composed("demo", [*existing, *overrides.split()])).lines
    (line,) = [line for line in lines if line.startswith("optimiser")]
    assert line.endswith(expected)
