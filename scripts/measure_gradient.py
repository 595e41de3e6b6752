"""Variance and concentration of the policy gradient by order p, on stored rollouts.

    python scripts/measure_gradient.py --rollouts 3.jsonl --old-model A --model B \
        --max-response-tokens 18 --out outputs/gradient/step_3

The rollouts are what `trainer.rollout_data_dir` makes verl write; the models are Hugging Face
folders, the policy that wrote the rollouts and one some updates later (checkpoints have them with
`hf_model` in `actor_rollout_ref.actor.checkpoint.save_contents`). The dump has texts, not tokens:
they are tokenised again, which need not give the tokens that were sampled.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from holderpo.advantage import group_relative_advantage
from holderpo.gradient.gradient_report import draw_gradient, to_markdown
from holderpo.gradient.measurement import (
    Measurement,
    MeasurementSettings,
    TokenGradients,
    measure,
    token_gradients,
)


class Rollout(NamedTuple):
    """One line of the dump."""

    prompt: str
    response: str
    score: float
    prompt_uid: str
    """Shared by the responses of a group."""


class Tokens(NamedTuple):
    """One rollout, tokenised again."""

    prompt: list[int]
    response: list[int]


def main() -> None:
    """Read, measure, write and show."""
    arguments = parse_arguments()
    settings = MeasurementSettings(
        orders=arguments.orders,
        groups_per_mini_batch=arguments.mini_batch_groups,
        clip_low=arguments.clip_low,
        clip_high=arguments.clip_high,
    )
    for option in ("old_model", "model"):
        if not (getattr(arguments, option) / "config.json").exists():
            raise ValueError(
                f"--{option.replace('_', '-')}: {getattr(arguments, option)} has no config.json; "
                "give a Hugging Face folder, as <checkpoint>/actor/huggingface"
            )
    rollouts = read_rollouts(arguments.rollouts)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    tokens = [tokenize(tokenizer, rollout, arguments.max_response_tokens) for rollout in rollouts]
    num_cut = sum(row.response[-1] != tokenizer.eos_token_id for row in tokens)
    print(
        f"{len(tokens)} responses tokenised again from their text, the end token appended; "
        f"{num_cut} have {arguments.max_response_tokens} tokens and count as cut off.\n"
    )
    scores = torch.tensor([rollout.score for rollout in rollouts], dtype=torch.float64)
    uids = sorted({rollout.prompt_uid for rollout in rollouts})
    groups = torch.tensor([uids.index(rollout.prompt_uid) for rollout in rollouts])
    advantages = group_relative_advantage(
        scores, groups, normalize_by_std=not arguments.no_std_normalization
    )
    old_model, model = (load(folder) for folder in (arguments.old_model, arguments.model))
    result = measure(gradients(old_model, model, tokens), advantages, groups, settings)
    write(result, arguments)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the policy gradient by order p.")
    add = parser.add_argument
    add("--rollouts", type=Path, required=True, help="JSONL file of one step's rollouts")
    add("--old-model", type=Path, required=True, help="folder of the policy that wrote them")
    add("--model", type=Path, required=True, help="folder of the policy whose gradient it is")
    add("--max-response-tokens", type=int, required=True, help="data.max_response_length there")
    add("--out", type=Path, required=True, help="folder for gradient.md, .json and .png")
    defaults = MeasurementSettings()
    add(
        *("--orders", "-p"),
        type=float,
        nargs="+",
        default=list(defaults.orders),
        help="orders p (default: -4 to 4)",
    )
    add(
        "--mini-batch-groups",
        type=int,
        default=defaults.groups_per_mini_batch,
        help="prompts per update, each with all its responses (default: %(default)s)",
    )
    add("--clip-low", type=float, default=defaults.clip_low, help="default: %(default)s")
    add("--clip-high", type=float, default=defaults.clip_high, help="default: %(default)s")
    add("--no-std-normalization", action="store_true", help="advantages without division by std")
    return parser.parse_args()


def read_rollouts(path: Path) -> list[Rollout]:
    """The lines of verl's dump.

    Args:
        path: JSONL with input, output, score and uid = {prompt}_{rollout}_{output} in each line.

    Returns:
        One a line.

    Raises:
        ValueError: naming file and line.
    """
    if not path.exists():
        raise ValueError(f"--rollouts: {path} not found; give a file of trainer.rollout_data_dir")
    rollouts = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            rollouts.append(parse_rollout(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if not rollouts:
        raise ValueError(f"{path}: empty; give a finished dump")
    return rollouts


def parse_rollout(entry: Any) -> Rollout:
    """One line of the dump.

    Args:
        entry: the decoded line.

    Returns:
        The rollout.

    Raises:
        ValueError: saying what is wrong with the line.
    """
    fields = {"input": str, "output": str, "score": (int, float), "uid": str}
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object; give a dump of trainer.rollout_data_dir")
    for name, kind in fields.items():
        if not isinstance(entry.get(name), kind):
            raise ValueError(
                f"{name}: {entry.get(name)!r}; give a dump of trainer.rollout_data_dir"
            )
    if not math.isfinite(entry["score"]):
        raise ValueError(f"score: {entry['score']}; the reward function must return finite numbers")
    prompt_uid, *counters = entry["uid"].rsplit("_", 2)
    if len(counters) != 2 or not all(counter.isdecimal() for counter in counters):
        raise ValueError(f"uid: {entry['uid']!r}; must be {{prompt}}_{{rollout}}_{{output}}")
    return Rollout(entry["input"], entry["output"], float(entry["score"]), prompt_uid)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, rollout: Rollout, max_response_tokens: int
) -> Tokens:
    """Tokens of a rollout, from its text.

    The dump's prompt is the filled chat template without special tokens: what the template puts
    around the user's words is taken off, and the template filled again.

    Args:
        tokenizer: of the checkpoint.
        rollout: to tokenise.
        max_response_tokens: a response of this length was cut off and has no end token.

    Returns:
        Prompt and response.

    Raises:
        ValueError: if the prompt is not one user message in the tokenizer's template, or the
            response is too long.
    """

    def fill(content: str) -> list[int]:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    marker = "0"
    before, _, after = tokenizer.decode(fill(marker), skip_special_tokens=True).partition(marker)
    content = rollout.prompt[len(before) : len(rollout.prompt) - len(after)]
    prompt = fill(content)
    if tokenizer.decode(prompt, skip_special_tokens=True) != rollout.prompt:
        raise ValueError(
            f"prompt {rollout.prompt[:60]!r}: not one user message in the chat template of --model"
        )
    response = list(tokenizer(rollout.response, add_special_tokens=False)["input_ids"])
    if len(response) > max_response_tokens:
        raise ValueError(
            f"response {rollout.response[:60]!r}: {len(response)} tokens; give "
            "--max-response-tokens as data.max_response_length was in the run"
        )
    if len(response) < max_response_tokens:
        response.append(tokenizer.eos_token_id)
    return Tokens(prompt, response)


def load(folder: Path) -> torch.nn.Module:
    """Model of a folder in float32, without dropout."""
    # Batched backward passes need attention made of ordinary operations.
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def gradients(
    old_model: torch.nn.Module, model: torch.nn.Module, tokens: list[Tokens]
) -> Iterator[TokenGradients]:
    """Log-ratios and Jacobian of each response, one after the other.

    Args:
        old_model: the policy that wrote them.
        model: the policy whose gradient it is.
        tokens: the rollouts.

    Yields:
        One response at a time.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # No bar where the output is no terminal.
    for row in tqdm(tokens, desc="gradients", unit="response", disable=None):
        with torch.no_grad():
            old_log_prob = response_log_prob(old_model, row)
        log_prob = response_log_prob(model, row)
        log_ratio = (log_prob - old_log_prob).detach()
        yield TokenGradients(log_ratio, token_gradients(log_prob, parameters))


def response_log_prob(model: torch.nn.Module, tokens: Tokens) -> Tensor:
    """(T,) log-probability of each response token at temperature 1, nats."""
    ids = torch.tensor([[*tokens.prompt, *tokens.response]])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(tokens.prompt) - 1 : -1]
    response = ids[0, len(tokens.prompt) :]
    return logits.float().log_softmax(-1).gather(-1, response.unsqueeze(-1)).squeeze(-1)


def write(result: Measurement, arguments: argparse.Namespace) -> None:
    """The three files, and the tables on the screen."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    tables = to_markdown(result)
    (arguments.out / "gradient.md").write_text(tables)
    record = {
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "measurement": as_json(result),
    }
    text = json.dumps(record, indent=2, allow_nan=False)
    (arguments.out / "gradient.json").write_text(text + "\n")
    title = f"{arguments.rollouts.name}, gradient of {arguments.model}"
    draw_gradient(result, arguments.out / "gradient.png", title=title)
    print(tables)
    print(f"written: gradient.md, gradient.json, gradient.png in {arguments.out}")


def as_json(value: Any) -> Any:
    """Named tuples as mappings; what is not finite as null, which JSON has no number for."""
    if hasattr(value, "_asdict"):
        return {name: as_json(entry) for name, entry in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [as_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
