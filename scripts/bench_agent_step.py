"""Where the time of a training step with an agent goes, beside generation and the actor's work.

    PYTHON -m data_prep.alfworld_demo
    PYTHON scripts/bench_agent_step.py [--games 16] [--turns 50] [--rounds 3]

A run of the real stack (verl's trainer, TransferQueue, environment workers, FSDP) on the games of
the ALFWorld demo, eight episodes each, but each turn is answered after 0.3 s with a random command
of its prompt. Generation so takes 0.3 s for each turn of the longest episode. What a step takes
beyond that and beyond the actor's passes is the cost of environments and wiring; the first round,
in which everything is new, is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from verl.workers.rollout.replica import TokenOutput

from holderpo.studies.run_files import METRICS_FILE, read_rows
from recipe.holderpo.alfworld.alfworld_loop import AlfworldLoop

_SECONDS = 0.3
_ACTOR = ("timing_s/old_log_prob", "timing_s/update_actor")


class SimulatedServer:
    """Answers in place of vLLM."""

    def __init__(self, tokenizer: Any) -> None:
        """Of the model's tokenizer."""
        self._tokenizer = tokenizer

    async def generate(
        self, *, prompt_ids: Sequence[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        """A command that the prompt lists, after 0.3 s."""
        await asyncio.sleep(_SECONDS)
        lines = self._tokenizer.decode(prompt_ids).splitlines()
        command = random.choice([line[2:] for line in lines if line.startswith("- ")])
        answer = f"<think></think><action>{command}</action>"
        tokens = [*self._tokenizer.encode(answer), self._tokenizer.eos_token_id]
        # verl asks for the weights that have answered.
        fields = {"min_global_steps": 0, "max_global_steps": 0}
        tokens = tokens[: sampling_params["max_tokens"]]
        return TokenOutput(token_ids=tokens, extra_fields=fields)


class SimulatedLoop(AlfworldLoop):
    """The agent loop as it is, with answers of :class:`SimulatedServer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As the loop."""
        super().__init__(*args, **kwargs)
        self.server_manager = SimulatedServer(self.tokenizer)


def train(folder: Path, arguments: argparse.Namespace) -> None:
    """Run the rounds.

    Args:
        folder: of the run.
        arguments: of the command line.

    Raises:
        CalledProcessError: the run failed; its output is on the screen.
    """
    loops = folder.parent / "loops.yaml"
    target = f"{Path(__file__).stem}.{SimulatedLoop.__name__}"
    loops.write_text(yaml.safe_dump([{"name": "alfworld", "_target_": target}]))
    rollout = "actor_rollout_ref.rollout"
    command = [
        *[sys.executable, "-m", "recipe.holderpo.main", "--config-name=alfworld_demo"],
        f"run_dir={folder}",
        f"agent.max_steps={arguments.turns}",
        f"data.train_batch_size={arguments.games}",
        f"{rollout}.agent.agent_loop_config_path={loops}",
        f"{rollout}.calculate_log_probs=false",
        f"trainer.total_training_steps={arguments.rounds + 1}",
        *["trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"],
    ]
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    subprocess.run(
        command,
        check=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
    )


def main() -> None:
    """Run, and print the parts of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=16, help="of a round, 8 episodes each")
    parser.add_argument("--turns", type=int, default=50, help="of an episode, at most")
    parser.add_argument("--rounds", type=int, default=3, help="that count")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        train(folder, arguments)
        rows = read_rows(folder / METRICS_FILE, [])[1:]
    shares = []
    print("round  turns  rows   step s  generation  rollout beside it  actor  all else  share")
    for row in rows:
        generation = _SECONDS * row["episode/turns_max"]
        step, rollout = row["timing_s/step"], row["timing_s/gen"] - generation
        actor = sum(row[name] for name in _ACTOR)
        outside = step - generation - actor
        shares.append(outside / step)
        print(
            f"{row['step']:5.0f}  {row['episode/turns_max']:5.0f}  {row['env/step_count']:4.0f}  "
            f"{step:7.1f}  {generation:10.1f}  {rollout:17.1f}  {actor:5.1f}  "
            f"{outside - rollout:8.1f}  {shares[-1]:5.1%}"
        )
    print(f"share of a step beside generation and actor: median {statistics.median(shares):.1%}")


if __name__ == "__main__":
    main()
