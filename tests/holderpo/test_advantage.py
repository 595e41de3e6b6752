"""Group-relative advantages and their transforms."""

import pytest
import torch

from holderpo.advantage import (
    AdvantageSettings,
    ResponseBatch,
    compute_advantages,
    group_relative_advantage,
    without_signal,
)


def response_batch(rewards, groups, lengths=None):
    lengths = lengths or [3] * len(rewards)
    return ResponseBatch(
        rewards=torch.tensor(rewards),
        groups=torch.tensor(groups),
        lengths_tokens=torch.tensor(lengths),
        max_response_tokens=5,
    )


def double_first(advantages, batch, *, by):
    """A user's own transform."""
    return torch.cat([advantages[:1] * by, advantages[1:]])


def not_finite(advantages, batch):
    return advantages / 0


def test_mean_and_sample_standard_deviation_of_the_group():
    rewards = torch.tensor([1.0, 0.0, 0.0, 5.0, 7.0, 1.0])
    groups = torch.tensor([4, 4, 9, 9, 9, 4])
    by_std = group_relative_advantage(rewards, groups, epsilon=0.0)
    plain = group_relative_advantage(rewards, groups, normalize_by_std=False)
    first = rewards[groups == 4]
    torch.testing.assert_close(by_std[groups == 4], (first - first.mean()) / first.std())
    torch.testing.assert_close(plain[groups == 9], rewards[groups == 9] - 4.0)


@pytest.mark.parametrize("reward", [9.9, 0.1, 1e8, -3.3])
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_rewards_give_exactly_zero(reward, normalize):
    rewards = torch.full((8,), reward)
    groups = torch.zeros(8, dtype=torch.int64)
    advantages = group_relative_advantage(rewards, groups, normalize_by_std=normalize)
    assert (advantages == 0).all()
    assert without_signal(rewards, groups).all()


def test_a_group_of_one_has_no_baseline_and_gets_zero():
    assert group_relative_advantage(torch.tensor([3.0]), torch.tensor([0])).tolist() == [0.0]


def test_bad_rewards_are_refused():
    with pytest.raises(ValueError, match="NaN or inf"):
        group_relative_advantage(torch.tensor([1.0, torch.nan]), torch.tensor([0, 0]))


def test_transforms_apply_in_order_and_take_their_arguments():
    batch = response_batch([1.0, 0.0, 0.0, 0.0], [0, 0, 0, 0], lengths=[5, 3, 3, 3])
    plain = compute_advantages(batch, AdvantageSettings())

    def transformed(**transform):
        return compute_advantages(batch, AdvantageSettings(transforms=[transform]))

    clamped = transformed(name="clamp", limit=1)
    dropped = transformed(name="drop_truncated")
    weighted = transformed(name="weight_by_difficulty", power=2.0)
    assert plain[0] > 1
    assert clamped[0] == 1
    assert dropped[0] == 0
    assert torch.equal(dropped[1:], plain[1:])
    torch.testing.assert_close(weighted, plain * 0.75**2)


def test_a_users_transform_is_one_dotted_name():
    name = f"{__name__}.double_first"
    batch = response_batch([1.0, 0.0], [0, 0])
    plain = compute_advantages(batch, AdvantageSettings())
    mine = compute_advantages(batch, AdvantageSettings(transforms=[{"name": name, "by": 2.0}]))
    torch.testing.assert_close(mine, plain * torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize("name", ["clmp", "no.such.module", "holderpo.advantage.nothing"])
def test_an_unknown_transform_names_the_field_and_the_choices(name):
    with pytest.raises(ValueError, match=r"advantage\.transforms.*clamp"):
        AdvantageSettings(transforms=[{"name": name}])


@pytest.mark.parametrize("transforms", ["clamp", ["clamp"], None, {"name": "clamp"}, [{"by": 2}]])
def test_transforms_of_another_form_name_the_field(transforms):
    with pytest.raises(ValueError, match=r"^advantage\.transforms: "):
        AdvantageSettings(transforms=transforms)


def test_a_transform_that_returns_nonsense_is_named():
    settings = AdvantageSettings(transforms=[{"name": f"{__name__}.not_finite"}])
    with pytest.raises(ValueError, match=r"not_finite.*finite numbers"):
        compute_advantages(response_batch([1.0, 0.0], [0, 0]), settings)
