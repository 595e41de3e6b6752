"""Look at a Ray cluster before a run: ``python -m recipe.holderpo.preflight`` with the run's words.

    RAY_ADDRESS=HOST:PORT python -m recipe.holderpo.preflight --config-name=<experiment> [overrides]

Run it on a node of that cluster: Ray lets a driver connect from nowhere else. Waits until the nodes
and devices of the composed configuration have joined, then compares every node with this one:
versions, this project, its plugin, paths. Exits with 0 if all is well, 1 with what is missing, 2
for a configuration that says nothing.
"""

from __future__ import annotations

import logging
import sys
import time

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipe.holderpo.config_folder import config_dir
from recipe.holderpo.run.environment import run_environment, set_environment
from recipe.holderpo.run.ray_settings import address_to_join, token_problem

_RETRY_SECONDS = 2.0
# What Ray says where no process of that cluster runs on this machine.
_NO_NODE_HERE = "No node info found"


@hydra.main(config_path=str(config_dir()), config_name="base", version_base=None)
def main(config: DictConfig) -> None:
    """Connect, wait, compare; exits with 1 if something is missing, 2 on a bad configuration."""
    problems = _configuration_problems(config)
    address = address_to_join(config)
    if not problems and address is None:
        problems = [
            "RAY_ADDRESS: not set; give that of the Ray cluster, host:port, or auto on its head"
        ]
    if problems or address is None:
        print("\n".join(f"preflight: {problem}" for problem in problems), file=sys.stderr)
        sys.exit(2)
    set_environment(config)
    from recipe.holderpo.run.cluster import ClusterError, check_cluster

    try:
        connect(config, address)
        check_cluster(config, lambda line: print(line, flush=True))
    except (ClusterError, ConnectionError) as error:
        for line in getattr(error, "problems", [str(error)]):
            print(f"preflight: {line}", file=sys.stderr)
        sys.exit(1)


def _configuration_problems(config: DictConfig) -> list[str]:
    """What would keep the nodes from being counted; the run itself checks the rest."""
    from recipe.holderpo.checks.from_machine import take_from_machine
    from recipe.holderpo.checks.kinds import kind_problems
    from recipe.holderpo.checks.settings import DEVICES

    if config.device not in DEVICES:
        return [f"device: {config.device!r}; give one of {', '.join(DEVICES)}"]
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        return [f"{error.full_key or 'configuration'}: {error}".splitlines()[0]]
    take_from_machine(config, on_cluster=True)
    return list(kind_problems(config))


def connect(config: DictConfig, address: str) -> None:
    """Connect to a Ray cluster, whose head may still be starting.

    Args:
        config: of the run, for the environment of its processes.
        address: as Ray takes it.

    Raises:
        ConnectionError: if nothing answers within ``wait_for_nodes_seconds``, or if Ray refuses,
            as it does without its token.
    """
    import ray

    end = time.monotonic() + config.wait_for_nodes_seconds
    while True:
        try:
            ray.init(
                address=address,
                namespace="holderpo_preflight",
                runtime_env={"env_vars": run_environment(config)},
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            return
        except (RuntimeError, ValueError, ray.exceptions.RayError) as error:
            # Of another version of Ray, without its token, or no address: waiting changes nothing.
            why = str(error).strip().splitlines()[0]
            if _NO_NODE_HERE in why:
                why = (
                    "this machine is no node of that Ray cluster; run it on one, or train as a job "
                    "of the cluster (scripts/train_ray.sh)"
                )
            raise ConnectionError(f"RAY_ADDRESS: {address}; {why}") from error
        except ConnectionError as error:
            if problem := token_problem(address, error):
                raise ConnectionError(problem) from error
            if time.monotonic() >= end:
                raise ConnectionError(
                    f"RAY_ADDRESS: {address}; no Ray cluster answers there within "
                    f"{config.wait_for_nodes_seconds:g} s (wait_for_nodes_seconds): start one "
                    f"(ray start --head), or give another ({str(error).splitlines()[0]})"
                ) from error
        time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    main()
