"""How many environment workers a machine can hold, checked before any is started.

Ray lets actors that find no CPU wait for ever, without a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holderpo.alfworld.engine_process import EngineSettings
from holderpo.number_kinds import is_number, is_whole

# A core does about 100 steps of official games a second, as many as 100 episodes need at a turn a
# second: beyond some workers more of them only take memory.
_CPUS_PER_DERIVED_WORKER = 4
_MOST_DERIVED_WORKERS = 8


@dataclass(frozen=True)
class EnvironmentSettings:
    """The environment workers of a run."""

    num_workers: int | None = None
    """Ray actors, an engine process with many episodes in each; None derives it from the CPUs."""
    cpus_per_worker: float = 0.5
    """What Ray sets aside for each."""
    max_restarts: int = 2
    """How often an episode whose process was lost is restored, before it counts as failed."""
    stall_seconds: float = 30.0
    """A worker that does not answer a ping for so long is killed and comes back."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Of each process."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: naming each wrong field with its fix, one line each.
        """
        problems = []
        if self.num_workers is not None and not is_whole(self.num_workers, at_least=1):
            problems.append(f"num_workers: {self.num_workers!r}; give 1 or more, or null")
        if not is_number(self.cpus_per_worker) or self.cpus_per_worker <= 0:
            problems.append(f"cpus_per_worker: {self.cpus_per_worker!r}; give CPUs above 0")
        if not is_whole(self.max_restarts, at_least=0):
            problems.append(f"max_restarts: {self.max_restarts!r}; give 0 or more")
        if not is_number(self.stall_seconds) or self.stall_seconds <= 0:
            problems.append(f"stall_seconds: {self.stall_seconds!r}; give seconds above 0")
        if problems:
            raise ValueError("\n".join(problems))

    def fit(self, free_cpus: float) -> int:
        """Number of workers for a machine or cluster.

        Args:
            free_cpus: that nobody else holds.

        Returns:
            ``num_workers``, or one for four CPUs, from 1 to 8.

        Raises:
            ValueError: if they do not fit.
        """
        wanted = self.num_workers or max(
            1, min(_MOST_DERIVED_WORKERS, int(free_cpus) // _CPUS_PER_DERIVED_WORKER)
        )
        needed = wanted * self.cpus_per_worker
        if needed > free_cpus + 1e-6:
            most = int((free_cpus + 1e-6) / self.cpus_per_worker)
            fix = f"give at most {most}" if most else "lower cpus_per_worker, or give Ray more CPUs"
            raise ValueError(
                f"num_workers: {wanted} of {self.cpus_per_worker:g} CPUs need {needed:g}, and "
                f"{free_cpus:g} are free; {fix}"
            )
        return wanted
