"""How many workers fit, before any is started."""

import pytest

from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings


@pytest.mark.parametrize(
    ("free_cpus", "workers"), [(1, 1), (2, 1), (7.9, 1), (8, 2), (16, 4), (64, 8), (256, 8)]
)
def test_without_a_number_one_worker_for_four_cpus_is_taken(free_cpus, workers):
    assert EnvironmentSettings().fit(free_cpus) == workers


def test_what_fits_exactly_fits():
    assert EnvironmentSettings(num_workers=20, cpus_per_worker=0.1).fit(2) == 20


@pytest.mark.parametrize(
    ("settings", "free_cpus", "message"),
    [
        (
            {"num_workers": 24, "cpus_per_worker": 0.1},
            2,
            "24 of 0.1 CPUs need 2.4, and 2 are free;",
        ),
        ({"num_workers": 24, "cpus_per_worker": 0.1}, 2, "give at most 20"),
        ({"num_workers": 1}, 0, "lower cpus_per_worker, or give Ray more CPUs"),
        ({}, 0.25, "num_workers: 1 of 0.5 CPUs need 0.5, and 0.25 are free"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(settings, free_cpus, message):
    with pytest.raises(ValueError, match=message):
        EnvironmentSettings(**settings).fit(free_cpus)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("num_workers", value) for value in (0, "abc", 1.5, True)],
        *[("cpus_per_worker", value) for value in (0, float("inf"), "1", None)],
        *[("max_restarts", value) for value in (-1, 0.5, None)],
        *[("stall_seconds", value) for value in (0, float("nan"), True)],
    ],
)
def test_a_setting_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}: {value!r}; give"):
        EnvironmentSettings(**{field: value})
