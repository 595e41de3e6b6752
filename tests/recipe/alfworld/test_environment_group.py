"""A group's view of its workers, with handles that answer as Ray's do."""

from types import SimpleNamespace

from recipe.holderpo.alfworld.environment_budget import EnvironmentSettings
from recipe.holderpo.alfworld.environment_group import EnvironmentGroup


def handle(name):
    return SimpleNamespace(_actor_id=name.encode())


def test_groups_of_a_process_look_after_a_worker_together():
    one, other = (
        EnvironmentGroup([handle("a"), handle(name)], EnvironmentSettings()) for name in "bc"
    )
    assert one.workers[0] is other.workers[0]
    assert one.workers[1] is not other.workers[1]
