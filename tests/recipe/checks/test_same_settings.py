"""What counts as another setting when a run goes on."""

import pytest
from omegaconf import OmegaConf

from recipe.holderpo.checks.attention import ATTENTION
from recipe.holderpo.checks.from_machine import fill_in
from recipe.holderpo.checks.same_settings import NOT_COMPARED, compare, read_config
from recipe.holderpo.checks.this_machine import Machine
from recipe.holderpo.main import config_dir
from tests.recipe.composing import by_hydra, composed

EXPERIMENTS = sorted(path.stem for path in config_dir().glob("*.yaml") if path.stem != "base")
DEFAULTS = OmegaConf.load(config_dir() / "base.yaml")


def different(then, now):
    found = compare(then, now, DEFAULTS)
    return {one.name: (one.before, one.now) for one in found.differences}, found.unknown_then


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_configuration_read_back_is_the_same(name, tmp_path):
    config = composed(name)
    OmegaConf.save(config, tmp_path / "config.yaml")
    if OmegaConf.missing_keys(config) - OmegaConf.missing_keys(composed("demo")):
        pytest.skip("is no run by itself")
    assert different(read_config(tmp_path / "config.yaml"), config) == ({}, ())


def test_what_follows_from_another_setting_is_not_named_beside_it():
    found, _ = different(composed("demo"), composed("demo", ("seed=1",)))
    assert found == {"seed": ("with 0", "1")}


def test_the_same_value_by_other_means_is_no_difference():
    assert different(composed("demo"), composed("demo", ("data.seed=0", "p.start=2"))) == ({}, ())


def test_a_setting_that_the_version_of_then_lacks_is_taken_at_its_default():
    then, now = composed("demo"), composed("demo")
    OmegaConf.set_struct(then, False)
    then.advantage.pop("transforms")
    then.actor_rollout_ref.actor.pop("use_kl_loss")
    new = ("actor_rollout_ref.actor.use_kl_loss", "advantage.transforms")
    assert different(then, now) == ({}, new)
    now.actor_rollout_ref.actor.use_kl_loss = True
    found, _ = different(then, now)
    assert found == {new[0]: ("without it", "True")}


def test_a_setting_that_this_version_lacks_is_a_difference_unless_it_was_null():
    then = composed("demo")
    OmegaConf.set_struct(then, False)
    then.advantage.old, then.advantage.older, then.p.more = 3, None, {"a": None, "b": [1]}
    found, _ = different(then, composed("demo"))
    assert found == {"advantage.old": ("with 3", "not set"), "p.more.b": ("with [1]", "not set")}


def test_a_setting_that_is_gone_and_changed_only_the_rounding_is_no_difference():
    then = composed("demo")
    OmegaConf.set_struct(then, False)
    then.actor_rollout_ref.actor.policy_loss.pop("fused")
    then.actor_rollout_ref.actor.policy_loss.compiled = False
    found, new = different(then, composed("demo"))
    assert (found, new) == ({}, ("actor_rollout_ref.actor.policy_loss.fused",))


@pytest.mark.parametrize(
    ("before", "after"),
    [(True, 1), (0, False), ("1", 1), ([1], [1, 2]), (1.0, float("nan")), ({"a": 1}, 3)],
)
def test_values_that_only_look_alike_are_different(before, after):
    then, now = composed("demo"), composed("demo")
    for config, value in ((then, before), (now, after)):
        OmegaConf.update(config, "data.x", value, force_add=True)
    assert list(different(then, now)[0]) == ["data.x"]
    assert different(now, now) == different(then, then) == ({}, ())


def test_what_a_cpu_run_without_shortcuts_notes_is_compared_with_the_same():
    then = composed("demo", ("cpu.shortcuts=false",))
    then.actor_rollout_ref.rollout.agent.agent_loop_manager_class = None
    then.reward.num_workers = 1
    assert different(then, composed("demo", ("cpu.shortcuts=false",))) == ({}, ())


def test_processes_may_follow_another_machine_and_attention_may_not():
    def on(machine):
        config = composed("demo", ("device=cuda",))
        fill_in(config, machine, on_cluster=False)
        return config

    large = on(Machine(64, 1))
    assert different(large, on(Machine(4, 1))) == ({}, ())
    assert list(different(large, on(Machine(4, 1, False)))[0]) == [ATTENTION]


@pytest.mark.parametrize("given", [{}, {"attn_implementation": None}, None])
def test_a_run_that_named_no_attention_had_that_of_verl(given):
    config = composed("math_qwen25_math_7b")
    fill_in(config, Machine(64, 4), on_cluster=False)
    then = config.copy()
    OmegaConf.set_struct(then, False)
    then.actor_rollout_ref.model.override_config = given
    assert different(then, config) == ({}, ())
    assert different(config, then) == ({}, ())
    now = config.copy()
    now.actor_rollout_ref.model.override_config.attn_implementation = "sdpa"
    assert list(different(then, now)[0]) == [ATTENTION]


def test_settings_of_a_model_that_rewards_count_where_it_does():
    size = "reward.reward_model.rollout.tensor_model_parallel_size"
    then, now = composed("demo", (f"{size}=2",)), composed("demo", (f"{size}=1",))
    assert different(then, now) == ({}, ())
    for config in (then, now):
        config.reward.reward_model.enable = True
    assert list(different(then, now)[0]) == [size]
    then.reward.reward_model.enable = False
    assert "reward.reward_model.enable" in different(then, now)[0]


def test_the_paper_s_machines_keep_the_number_that_a_checkpoint_goes_with():
    workers = composed("math_qwen25_math_7b").data.dataloader_num_workers
    assert workers == 8


def test_whatever_need_not_be_the_same_is_a_setting():
    whole = by_hydra("demo")
    deprecated = {"trainer.remove_previous_ckpt_in_save"}  # verl reads it where it is added.
    for name in {*NOT_COMPARED} - deprecated:
        section, _, key = name.rpartition(".")
        assert key in (OmegaConf.select(whole, section) if section else whole), name
