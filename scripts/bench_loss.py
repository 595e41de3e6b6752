"""Time and memory of the Hölder loss beside verl's losses, forward and backward.

    python scripts/bench_loss.py --device cpu --threads 2 --out outputs/bench_loss.json

All candidates run in one process on the same inputs, one after the other in every round, in an
order that rotates; the first rounds are discarded. The yardstick is the verl loss with the
smallest median, and a ratio divides by its time in the same round. Memory is the peak of one
forward and backward beyond the inputs, the gradient included.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import FSDPActorConfig

from holderpo.objective import clipped_surrogate
from holderpo.sheets import Sheet, fit, markdown
from recipe.holderpo.policy_loss import HolderLossConfig, compute_policy_loss_holder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VERL_LOSSES = {
    "vanilla": "token-mean",
    "gspo": "seq-mean-token-mean",
    "geo_mean": "seq-mean-token-mean",
}
MEMORY_YARDSTICK = "verl gspo"
CLIP = {"clip_low": 0.2, "clip_high": 0.2}
COPY_BYTES = 2**28
MIB = 2**20


class Data(NamedTuple):
    """One mini-batch; all (B, T), the names are verl's."""

    log_prob: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    response_mask: Tensor


Candidate = Callable[[Data], Tensor]


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table."""

    candidate: str
    shape: str
    dtype: str
    median_ms: float
    ratio_median: float
    """To the verl loss with the smallest median, round by round."""
    ratio_low: float
    """10 % quantile."""
    ratio_high: float
    """90 % quantile."""
    peak_mib: float
    peak_over_gspo: float
    kernel_ms: float | None
    """Sum of what the GPU's kernels take, without the gaps between them."""
    bandwidth_gb_per_second: float | None
    """Inputs read once and gradient written once, over the kernels' time; on a GPU."""
    bandwidth_over_copy: float | None


def main() -> None:
    """Measure every shape and dtype, print the table."""
    arguments = parse_arguments()
    # The profiler announces each start and stop otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    copy_bandwidth = measure_copy(device) if device.type == "cuda" else None
    print(describe_machine(device, copy_bandwidth), end="\n\n")
    results: list[Result] = []
    for shape in arguments.shapes:
        for name in arguments.dtypes:
            data = make_data(*shape, DTYPES[name], device)
            label = f"{shape[0]} x {shape[1]}"
            rows = bench(data, candidates(arguments.plain), arguments, label, copy_bandwidth)
            results.extend(rows)
    print(to_markdown(results))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": describe_machine(device, copy_bandwidth),
            "arguments": {name: str(value) for name, value in vars(arguments).items()},
            "results": [dataclasses.asdict(result) for result in results],
        }
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time and memory of the loss, forward + backward.")
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add("--rounds", type=int, default=30, help="rounds that count (default: %(default)s)")
    add("--warm-up", type=int, default=3, help="rounds discarded before (default: %(default)s)")
    add(
        "--shapes",
        type=parse_shape,
        nargs="+",
        default=[(128, 3000), (64, 16384), (8, 65536)],
        help="responses x tokens (default: 128x3000 64x16384 8x65536)",
    )
    add("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="default: both")
    add("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    add("--plain", action="store_true", help="the Hölder rows without their fused kernels")
    add("--out", type=Path, help="also write the numbers there, as JSON")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error(f"--rounds: {arguments.rounds}; give at least 2")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: cuda is not available here; give cpu")
    return arguments


def parse_shape(text: str) -> tuple[int, int]:
    """``128x3000`` as (128, 3000)."""
    rows, _, tokens = text.partition("x")
    if not (rows.isdecimal() and tokens.isdecimal() and int(rows) and int(tokens) > 3):
        raise argparse.ArgumentTypeError(f"{text!r}; give responses x tokens, as 128x3000")
    return int(rows), int(tokens)


def make_data(num_rows: int, num_tokens: int, dtype: torch.dtype, device: torch.device) -> Data:
    """Responses of lengths uniform in [T / 4, T], log-ratios of standard deviation 0.1.

    Args:
        num_rows: B.
        num_tokens: T.
        dtype: of the log-probabilities; advantages are float32, as verl's.
        device: where.

    Returns:
        The mini-batch; ``log_prob`` requires grad.
    """
    generator = torch.Generator().manual_seed(0)
    old_log_prob = -torch.rand(num_rows, num_tokens, generator=generator)
    noise = 0.1 * torch.randn(num_rows, num_tokens, generator=generator)
    lengths = torch.randint(num_tokens // 4, num_tokens + 1, (num_rows, 1), generator=generator)
    mask = torch.arange(num_tokens) < lengths
    advantages = torch.randn(num_rows, 1, generator=generator) * mask
    return Data(
        (old_log_prob + noise).to(device, dtype).requires_grad_(),
        old_log_prob.to(device, dtype),
        advantages.to(device),
        mask.to(device),
    )


def candidates(plain: bool) -> dict[str, Candidate]:
    """The losses by name, each ``(data) -> scalar``.

    Args:
        plain: the Hölder losses without their fused kernels, which exist on a GPU.

    Returns:
        Name to loss.
    """
    losses: dict[str, Candidate] = {}
    for p, clip_level in [(2.0, "sequence"), (0.0, "sequence"), (-1.0, "sequence"), (1.0, "token")]:
        config = actor_config(HolderLossConfig(p=p, clip_level=clip_level, fused=not plain))
        losses[f"holder p={p:g}, {clip_level}"] = functools.partial(
            verl_loss, compute_policy_loss_holder, config, "seq-mean-token-mean"
        )
        losses[f"bare surrogate p={p:g}, {clip_level}"] = functools.partial(
            bare_surrogate, p=p, clip_level=clip_level, fused=not plain
        )
    for name, mode in VERL_LOSSES.items():
        losses[f"verl {name}"] = functools.partial(
            verl_loss, get_policy_loss_fn(name), actor_config(None), mode
        )
    losses["released code p=2"] = functools.partial(released_code, p=2.0)
    return losses


def actor_config(policy_loss: HolderLossConfig | None) -> FSDPActorConfig:
    """Actor settings of verl around a loss; None for verl's own."""
    settings = {} if policy_loss is None else {"policy_loss": policy_loss}
    return FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=8,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=CLIP["clip_low"],
        clip_ratio_high=CLIP["clip_high"],
        **settings,
    )


def verl_loss(
    function: Callable[..., tuple[Tensor, dict[str, Any]]],
    config: FSDPActorConfig,
    loss_agg_mode: str,
    data: Data,
) -> Tensor:
    """A loss of verl's signature, metrics included, as verl's engine calls it."""
    config.global_batch_info.update(
        dp_size=1, global_batch_size=len(data.log_prob), batch_num_tokens=None
    )
    return function(**data._asdict(), loss_agg_mode=loss_agg_mode, config=config)[0]


def bare_surrogate(data: Data, *, p: float, clip_level: str, fused: bool) -> Tensor:
    """The objective without verl's signature and metrics."""
    surrogate = clipped_surrogate(
        *data, p=p, clip_level=clip_level, fused=fused, check_advantages=False, **CLIP
    )
    return surrogate.loss.mean()


def released_code(data: Data, *, p: float) -> Tensor:
    """What the authors' mathematics code computes: raw powers in float32, not in log space."""
    mask = data.response_mask.float()
    powers = torch.exp(p * (data.log_prob.float() - data.old_log_prob.float())) * mask
    rho = (powers.sum(-1) / (mask.sum(-1) + 1e-8)).pow(1 / p)
    advantage = data.advantages[:, 0]
    clipped = rho.clamp(1 - CLIP["clip_low"], 1 + CLIP["clip_high"])
    return torch.maximum(-advantage * rho, -advantage * clipped).mean()


def bench(
    data: Data,
    losses: dict[str, Candidate],
    arguments: argparse.Namespace,
    label: str,
    copy_bandwidth: float | None,
) -> list[Result]:
    """Time and memory of all candidates on one mini-batch.

    Args:
        data: one mini-batch.
        losses: of :func:`candidates`.
        arguments: rounds and warm-up.
        label: of the shape.
        copy_bandwidth: bytes a second of a device copy; None on a CPU.

    Returns:
        A row for each candidate.
    """
    dtype = str(data.log_prob.dtype).removeprefix("torch.")
    seconds = time_rounds(data, losses, arguments, f"{label} {dtype}")
    calls = {name: functools.partial(forward_backward, loss, data) for name, loss in losses.items()}
    peaks = {name: peak_bytes(call, data) for name, call in calls.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    yardstick = min((f"verl {name}" for name in VERL_LOSSES), key=medians.__getitem__)
    num_bytes = sum(tensor.nbytes for tensor in data) + data.log_prob.nbytes
    results = []
    for name in losses:
        pairs = zip(seconds[name], seconds[yardstick], strict=True)
        deciles = statistics.quantiles(
            [one / other for one, other in pairs], n=10, method="inclusive"
        )
        kernels = kernel_seconds(calls[name]) if copy_bandwidth else None
        bandwidth = num_bytes / kernels if kernels else None
        result = Result(
            candidate=name,
            shape=label,
            dtype=dtype,
            median_ms=1e3 * medians[name],
            ratio_median=deciles[4],
            ratio_low=deciles[0],
            ratio_high=deciles[8],
            peak_mib=peaks[name] / MIB,
            peak_over_gspo=peaks[name] / peaks[MEMORY_YARDSTICK],
            kernel_ms=kernels and 1e3 * kernels,
            bandwidth_gb_per_second=bandwidth and bandwidth / 1e9,
            bandwidth_over_copy=bandwidth and copy_bandwidth and bandwidth / copy_bandwidth,
        )
        results.append(result)
    return results


def time_rounds(
    data: Data, losses: dict[str, Candidate], arguments: argparse.Namespace, label: str
) -> dict[str, list[float]]:
    """Seconds of every candidate in every round that counts; the order rotates."""
    names = list(losses)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in tqdm(range(-arguments.warm_up, arguments.rounds), label, disable=None):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            call = functools.partial(forward_backward, losses[name], data)
            elapsed = timed(call, data.log_prob.device)
            if index >= 0:
                seconds[name].append(elapsed)
    return seconds


def forward_backward(loss: Candidate, data: Data) -> None:
    """One call as in training; the gradient is dropped by the next one."""
    data.log_prob.grad = None
    loss(data).backward()


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; on a GPU between two events, with everything before it finished."""
    if device.type == "cpu":
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def peak_bytes(call: Callable[[], object], data: Data) -> int:
    """Largest memory in use during one call, beyond that before it.

    Args:
        call: what to measure.
        data: the inputs; tells the device, and loses its gradient first.

    Returns:
        Bytes: of torch's allocator on a CPU, where it is the running sum of the profiler's
        allocations and releases; of the caching allocator's tensors on a GPU.
    """
    data.log_prob.grad = None
    if data.log_prob.device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = profiler.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    in_use = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        in_use += change.nbytes()
        peak = max(peak, in_use)
    return peak


def kernel_seconds(call: Callable[[], object]) -> float:
    """Seconds that the GPU works for one call, the mean of some."""
    num_calls = 5
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(num_calls):
            call()
        torch.cuda.synchronize()
    return sum(row.self_device_time_total for row in profiler.key_averages()) / num_calls / 1e6


def measure_copy(device: torch.device) -> float:
    """Bytes a second, read plus written, of a copy on the device; median of 20."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = [timed(lambda: target.copy_(source), device) for _ in range(25)][5:]
    return 2 * COPY_BYTES / statistics.median(seconds)


def describe_machine(device: torch.device, copy_bandwidth: float | None) -> str:
    """Versions and hardware, for beside the table."""
    if copy_bandwidth is None:
        return f"torch {torch.__version__}, CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device)
    return f"torch {torch.__version__}, {name}, device copy {copy_bandwidth / 1e9:.0f} GB/s"


def to_markdown(results: Sequence[Result]) -> str:
    """Tables; the three last columns only on a GPU."""
    with_bandwidth = any(result.bandwidth_gb_per_second for result in results)
    headings = ["shape", "dtype", "loss", "median ms", "over fastest verl"]
    headings += ["peak MiB", "over gspo"]
    headings += ["kernels ms", "GB/s", "of a copy"] if with_bandwidth else []
    lines = []
    for r in results:
        ratio = f"{r.ratio_median:.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f})"
        line = [r.shape, r.dtype, r.candidate, f"{r.median_ms:.3g}", ratio]
        line += [f"{r.peak_mib:.1f}", f"{r.peak_over_gspo:.2f}"]
        if None not in (r.kernel_ms, r.bandwidth_gb_per_second, r.bandwidth_over_copy):
            line += [
                f"{r.kernel_ms:.3g}",
                f"{r.bandwidth_gb_per_second:.0f}",
                f"{100 * r.bandwidth_over_copy:.0f} %",
            ]
        lines.append(line)
    about = "Over the fastest of verl's losses: the median, and 10 to 90 % of the rounds."
    tables = map(markdown, fit(Sheet("", headings, lines), num_keys=3))
    return "\n\n".join([*tables, about])


if __name__ == "__main__":
    main()
