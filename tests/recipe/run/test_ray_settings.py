"""Which Ray instance a run uses, and what reaches ray.init."""

import pytest
from omegaconf import OmegaConf
from ray._private import services

from recipe.holderpo.run.ray_settings import OF_A_NEW_RAY, address_to_join, init_settings
from tests.recipe.composing import composed

ADDRESS = "10.0.0.1:6379"


def run(address=None, **settings):
    config = composed("demo")
    for name, value in (settings | {"address": address}).items():
        OmegaConf.update(config, f"ray_kwargs.ray_init.{name}", value, force_add=True)
    return config


@pytest.fixture
def variable(monkeypatch):
    def set_it(value):
        if value is None:
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
        else:
            monkeypatch.setenv("RAY_ADDRESS", value)

    return set_it


@pytest.mark.parametrize(
    ("in_environment", "address", "joined"),
    [
        (None, None, None),
        ("", None, None),
        ("local", None, None),
        (ADDRESS, None, ADDRESS),
        (ADDRESS, "", ADDRESS),
        (ADDRESS, "auto", ADDRESS),
        ("auto", None, "auto"),
        (None, "auto", "auto"),
        ("local", "auto", None),
        # Ray reads the variable only where the setting leaves the address open.
        (ADDRESS, "local", None),
        ("local", ADDRESS, ADDRESS),
        ("10.0.0.2:6379", ADDRESS, ADDRESS),
        ("ray://10.0.0.2:10001", None, "ray://10.0.0.2:10001"),
    ],
)
def test_the_instance_is_the_one_that_ray_would_join(in_environment, address, joined, variable):
    variable(in_environment)
    assert address_to_join(run(address)) == joined
    told = init_settings(run(address), {})
    assert told["address"] == (joined or "local")
    assert ("num_cpus" in told) is (joined is None)


def test_an_instance_that_nobody_has_named_is_left_alone(variable, monkeypatch):
    """``ray start`` leaves its address behind; ray.init would join it, and refuse num_cpus."""
    variable(None)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: {ADDRESS})
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: ADDRESS)
    assert services.canonicalize_bootstrap_address(None) == ADDRESS
    told = init_settings(run(), {})
    assert services.canonicalize_bootstrap_address(told["address"]) is None
    assert told["num_cpus"] == 32


def test_an_instance_that_is_up_is_told_of_no_resources(variable):
    variable(ADDRESS)
    own = dict.fromkeys(OF_A_NEW_RAY, 1)
    told = init_settings(run(log_to_driver=False, namespace="mine", **own), {})
    assert not set(told) & set(OF_A_NEW_RAY)
    assert (told["log_to_driver"], told["namespace"]) == (False, "mine")


def test_the_user_s_own_entries_of_the_environment_come_last(variable):
    variable(None)
    runtime_env = {"env_vars": {"A": "1", "B": "1"}}
    told = init_settings(run(runtime_env={"env_vars": {"B": "2"}}), runtime_env)
    assert told["runtime_env"]["env_vars"] == {"A": "1", "B": "2"}
    assert runtime_env == {"env_vars": {"A": "1", "B": "1"}}
