"""The policy gradient itself as a function of the order p: variance, concentration, directions.

The gradients of the log-probabilities of a response's tokens are taken once; the gradient of the
objective for every order is a combination of them with the order's token weights.

Shapes: ``B`` responses, ``T`` response tokens, ``P`` parameters, ``O`` orders, ``G`` groups,
``R`` resamples, with the groups as they are in front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from holderpo.bootstrap import (
    Estimate,
    estimate,
    mean_over_pairs,
    resample_counts,
)
from holderpo.diagnostics import describe_rows
from holderpo.objective import clipped_surrogate
from holderpo.power_mean import log_power_mean, token_weights

COSINE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_COSINE_BINS = 80


@dataclass(frozen=True)
class MeasurementSettings:
    """What is measured."""

    orders: Sequence[float] = (-4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
    """Orders of the power mean."""
    groups_per_mini_batch: int = 8
    """Prompts per update, each with all its responses."""
    clip_low: float = 0.2
    """Distance of the lower bound from 1."""
    clip_high: float = 0.2
    """Distance of the upper bound from 1."""
    num_resamples: int = 4000
    """Bootstrap resamples of groups."""
    seed: int = 0
    """Of the resamples."""

    def __post_init__(self) -> None:
        """Orders must be finite and distinct, counts positive."""
        orders = list(self.orders)
        if not orders or not all(map(math.isfinite, orders)) or len(set(orders)) < len(orders):
            raise ValueError(f"orders: {orders}; give distinct finite numbers, at least one")
        for name in ("groups_per_mini_batch", "num_resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; give at least 1")


class TokenGradients(NamedTuple):
    """One response."""

    log_ratio: Tensor
    """(T,) log-probability of its tokens under the current minus under the old policy, nats."""
    jacobian: Tensor
    """(T, P) gradient of each token's log-probability under the current policy."""


class Variance(NamedTuple):
    """Variance of the gradient of one mini-batch: trace of its covariance over parameters."""

    total: Estimate
    """In squared units of the gradient."""
    relative_to_reference: Estimate
    """Over that of the order nearest to 0, resample by resample."""
    relative_to_mean: Estimate
    """Over the squared norm of the mean gradient, estimated without bias; inf where that is not
    above 0, so where the mean cannot be told from 0."""
    smallest_frac: float
    """Fraction of the resamples in which this order has the smallest variance."""
    smallest_relative_frac: float
    """The same for ``relative_to_mean``."""


class OrderMeasurement(NamedTuple):
    """Everything that depends on the order; means are over responses."""

    p: float
    """The order."""
    unclipped: Variance
    """Of the objective without clipping."""
    clipped: Variance
    """Of the sequence-clipped objective."""
    clip_frac: float
    """Fraction of responses zeroed by the clip."""
    variance_bound: float
    """Theorem 2: ``(M^2 / B) E[A^2 rho^2]``, M the largest norm of a token gradient, B the
    responses of a mini-batch."""
    second_moment: float
    """Measured ``E ||g_i||^2`` of the unclipped gradient of one response."""
    predicted_second_moment: float
    """Theorem 7: ``M^2 E[A^2 rho^2 sum W^2]``, M^2 the mean squared norm of a token gradient."""
    measured_over_predicted: Estimate
    """Of the second moment."""
    measured_over_orthogonal: Estimate
    """Second moment over ``E[A^2 rho^2 sum W_t^2 ||g_t||^2]``, which has the real norms: what is
    not 1 here is not orthogonal."""
    ess_frac: float
    """Effective number of tokens over the number of tokens."""
    hhi: float
    """Sum of squared token weights."""
    top_token_share: float
    """Share of the weight on the tenth of the tokens with the largest weights."""


class TokenDirections(NamedTuple):
    """Cosines between token gradients of the same response, over all pairs (Assumption 1)."""

    num_pairs: int
    """Pairs of tokens; those with a zero gradient are left out."""
    mean: float
    """Mean cosine; 0 for orthogonal ones."""
    mean_absolute: float
    """Mean absolute cosine."""
    quantiles: tuple[float, ...]
    """At ``COSINE_QUANTILES``."""
    histogram: tuple[int, ...]
    """Pairs in ``NUM_COSINE_BINS`` equal bins from -1 to 1."""
    square_of_sum_over_sum_of_squares: float
    """``sum_i ||sum_t g_t||^2 / sum_i sum_t ||g_t||^2``; 1 for orthogonal ones."""


class Measurement(NamedTuple):
    """The whole result."""

    orders: tuple[OrderMeasurement, ...]
    """In the order of the settings."""
    directions: TokenDirections
    """Does not depend on the order."""
    num_responses: int
    """B in all."""
    num_groups: int
    """Prompts."""
    num_groups_with_signal: int
    """Prompts whose advantages are not all 0."""
    responses_per_mini_batch: int
    """B of one update."""
    num_tokens: int
    """Of all responses."""
    log_ratio_std: float
    """Spread of the log-ratios within a response, mean over responses, nats."""
    log_ratio_min: float
    """Nats."""
    log_ratio_max: float
    """Nats."""
    mean_square_token_norm: float
    """Mean ``||g_t||^2``."""
    largest_token_norm: float
    """Largest ``||g_t||``."""


def token_gradients(log_prob: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Gradient of each token's log-probability, by one batched backward pass.

    Args:
        log_prob: (T,) nats, with its graph.
        parameters: with respect to these; one that is not used gives 0.

    Returns:
        (T, P), parameters flattened and concatenated.
    """
    wanted = list(parameters)
    gradients = torch.autograd.grad(
        log_prob,
        wanted,
        grad_outputs=torch.eye(len(log_prob), dtype=log_prob.dtype, device=log_prob.device),
        is_grads_batched=True,
        allow_unused=True,
    )
    return torch.cat(
        [
            log_prob.new_zeros(len(log_prob), parameter.numel())
            if gradient is None
            else gradient.flatten(1)
            for parameter, gradient in zip(wanted, gradients, strict=True)
        ],
        dim=1,
    )


def measure(
    responses: Iterable[TokenGradients],
    advantages: Tensor,
    groups: Tensor,
    settings: MeasurementSettings,
) -> Measurement:
    """Variance, concentration and directions of the policy gradient for every order.

    The gradient of a mini-batch is the mean over its responses. Its variance is averaged over all
    partitions of the groups into mini-batches of ``b`` whole groups, which has a closed form: with
    the mean gradients ``h_g`` of the groups, ``1 / (2 b)`` times the mean of ``||h_g - h_k||^2``
    over pairs of different groups. Resamples leave out the pairs of a group with itself, so that
    they centre on the same value.

    **Source**: gradients Eq. 8 and Eq. 16; Theorems 2 and 7, Assumption 1; derived: the variance
    between the means of a random partition (divisor one less than their number) is on average the
    variance between groups over ``b``, and the latter is half the mean squared distance of pairs.

    Args:
        responses: one at a time, in the order of ``advantages``; only one Jacobian is held.
        advantages: (B,) one per response.
        groups: (B,) integers; responses to the same prompt share one. All have the same size.
        settings: orders, mini-batch, clip range, resamples.

    Returns:
        The measurement. Memory is two (O, G, P) tensors besides one Jacobian.

    Raises:
        ValueError: if sizes do not fit.
    """
    _, group_B = torch.unique(groups, return_inverse=True)
    sizes_G = torch.bincount(group_B)
    _check_groups(sizes_G, settings)
    if not advantages.any():
        raise ValueError("advantages: all 0; take responses with different rewards in a group")
    totals = _Totals(settings, advantages, group_B, len(sizes_G))
    for response in responses:
        totals.add(response)
    if totals.num_added != len(advantages):
        raise ValueError(f"responses: {totals.num_added}; give {len(advantages)}, as advantages")
    return totals.finish()


def _check_groups(sizes_G: Tensor, settings: MeasurementSettings) -> None:
    if len(sizes_G) < 2 or (sizes_G != sizes_G[0]).any():
        raise ValueError(
            f"groups: sizes {sorted(set(sizes_G.tolist()))} of {len(sizes_G)} groups; "
            "give at least two, all of the same size"
        )
    if settings.groups_per_mini_batch > len(sizes_G):
        raise ValueError(
            f"groups_per_mini_batch: {settings.groups_per_mini_batch}; "
            f"there are {len(sizes_G)} groups"
        )


class _Rows(NamedTuple):
    """Of one response, for every order; all (O,)."""

    ratio_square: Tensor
    """A^2 rho^2."""
    second_moment: Tensor
    """Measured."""
    orthogonal: Tensor
    """With the real norms of the tokens, were they orthogonal."""
    predicted: Tensor
    """Theorem 7 without its M^2."""
    clipped: Tensor
    ess_frac: Tensor
    hhi: Tensor
    top_token_share: Tensor


class _Totals:
    """What is kept of the responses seen so far."""

    def __init__(
        self, settings: MeasurementSettings, advantages: Tensor, group_B: Tensor, num_groups: int
    ) -> None:
        self.settings, self.group_B, self.num_groups = settings, group_B, num_groups
        self.advantage_B = advantages
        self.order_O = torch.tensor(settings.orders, dtype=torch.float64)
        self.rows: list[_Rows] = []
        self.log_ratios: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.cosines: list[Tensor] = []
        self.square_of_sum = 0.0
        # Unclipped and clipped gradient, summed over each group.
        self.gradient_2OGP: Tensor | None = None

    @property
    def num_added(self) -> int:
        return len(self.rows)

    def add(self, response: TokenGradients) -> None:
        index = self.num_added
        if index == len(self.advantage_B):
            raise ValueError(f"responses: more than {index}, the number of advantages")
        jacobian_TP = response.jacobian
        if jacobian_TP.ndim != 2 or response.log_ratio.shape != jacobian_TP.shape[:1]:
            raise ValueError(
                f"response {index}: log_ratio {tuple(response.log_ratio.shape)}, jacobian "
                f"{tuple(jacobian_TP.shape)}; give (T,) and (T, P)"
            )
        log_ratio_T = response.log_ratio.detach().double()
        gram_TT = (jacobian_TP @ jacobian_TP.T).double()
        free_OT, kept_OT, row = self._coefficients(log_ratio_T, self.advantage_B[index], gram_TT)
        gradient_2OP = torch.stack([free_OT, kept_OT]).to(jacobian_TP) @ jacobian_TP
        if self.gradient_2OGP is None:
            self.gradient_2OGP = gradient_2OP.new_zeros(
                (2, len(self.order_O), self.num_groups, jacobian_TP.shape[1])
            )
        self.gradient_2OGP[:, :, self.group_B[index]] += gradient_2OP
        self.rows.append(row)
        self.log_ratios.append(log_ratio_T)
        self.square_of_sum += gram_TT.sum().item()
        norm_T = gram_TT.diagonal().clamp(min=0).sqrt()
        self.norms.append(norm_T)
        unit_TT = (gram_TT / torch.outer(norm_T, norm_T))[norm_T > 0][:, norm_T > 0]
        upper = torch.triu_indices(len(unit_TT), len(unit_TT), offset=1)
        self.cosines.append(unit_TT[upper[0], upper[1]].float().clamp(-1, 1))

    def _coefficients(
        self, log_ratio_T: Tensor, advantage: Tensor, gram_TT: Tensor
    ) -> tuple[Tensor, Tensor, _Rows]:
        """Of the token gradients in the unclipped and the clipped gradient, both (O, T)."""
        order_O, settings = self.order_O, self.settings
        log_ratio_OT = log_ratio_T.expand(len(order_O), -1).clone()
        mask_OT = torch.ones_like(log_ratio_OT, dtype=torch.bool)
        advantage_O = advantage.double().expand(len(order_O))
        weight_OT = token_weights(log_ratio_OT, mask_OT, order_O)
        scale_O = advantage_O * log_power_mean(log_ratio_OT, mask_OT, order_O).exp()
        free_OT = scale_O.unsqueeze(-1) * weight_OT

        leaf_OT = log_ratio_OT.clone().requires_grad_()
        loss, statistics = clipped_surrogate(
            leaf_OT,
            torch.zeros_like(log_ratio_OT),
            advantage_O,
            mask_OT,
            p=order_O,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
        )
        (gradient_OT,) = torch.autograd.grad(loss.sum(), leaf_OT)

        described = describe_rows(log_ratio_OT, mask_OT, order_O)
        square_OT = free_OT.square()
        row = _Rows(
            ratio_square=scale_O.square(),
            second_moment=torch.einsum("ot,tk,ok->o", free_OT, gram_TT, free_OT),
            orthogonal=square_OT @ gram_TT.diagonal(),
            predicted=square_OT.sum(-1),
            clipped=(statistics.clipped_high | statistics.clipped_low).double(),
            ess_frac=described.ess_frac,
            hhi=weight_OT.square().sum(-1),
            top_token_share=described.top_token_share,
        )
        return free_OT, -gradient_OT, row

    def finish(self) -> Measurement:
        assert self.gradient_2OGP is not None, "there are at least two groups"
        group_size = len(self.advantage_B) // self.num_groups
        responses_per_mini_batch = group_size * self.settings.groups_per_mini_batch
        mean_2OGP = self.gradient_2OGP / group_size
        # One order at a time: doubles of all would be twice the memory.
        gram_2OGG = torch.stack(
            [torch.stack([mean_GP @ mean_GP.T for mean_GP in kind.double()]) for kind in mean_2OGP]
        )
        counts_RG = resample_counts(
            self.num_groups, self.settings.num_resamples, self.settings.seed
        )
        free, clipped = (self._variances(gram_OGG, counts_RG) for gram_OGG in gram_2OGG)

        rows = _Rows(*(torch.stack(values, -1) for values in zip(*self.rows, strict=True)))
        norm_N = torch.cat(self.norms)
        mean_square_norm = norm_N.square().mean().item()
        predicted_OB = mean_square_norm * rows.predicted
        over_predicted = self._quotients(rows.second_moment, predicted_OB, counts_RG)
        over_orthogonal = self._quotients(rows.second_moment, rows.orthogonal, counts_RG)
        mean = _Rows(*(values_OB.mean(-1) for values_OB in rows))
        bound_O = norm_N.max() ** 2 / responses_per_mini_batch * mean.ratio_square
        orders = tuple(
            OrderMeasurement(
                p=p,
                unclipped=free[index],
                clipped=clipped[index],
                clip_frac=mean.clipped[index].item(),
                variance_bound=bound_O[index].item(),
                second_moment=mean.second_moment[index].item(),
                predicted_second_moment=predicted_OB[index].mean().item(),
                measured_over_predicted=over_predicted[index],
                measured_over_orthogonal=over_orthogonal[index],
                ess_frac=mean.ess_frac[index].item(),
                hhi=mean.hhi[index].item(),
                top_token_share=mean.top_token_share[index].item(),
            )
            for index, p in enumerate(self.settings.orders)
        )
        log_ratio_N = torch.cat(self.log_ratios)
        with_signal = self.group_B[self.advantage_B != 0].unique()
        return Measurement(
            orders=orders,
            directions=self._directions(norm_N),
            num_responses=len(self.advantage_B),
            num_groups=self.num_groups,
            num_groups_with_signal=len(with_signal),
            responses_per_mini_batch=responses_per_mini_batch,
            num_tokens=len(log_ratio_N),
            log_ratio_std=sum(x.std(correction=0).item() for x in self.log_ratios) / self.num_added,
            log_ratio_min=log_ratio_N.min().item(),
            log_ratio_max=log_ratio_N.max().item(),
            mean_square_token_norm=mean_square_norm,
            largest_token_norm=norm_N.max().item(),
        )

    def _variances(self, gram_OGG: Tensor, counts_RG: Tensor) -> list[Variance]:
        square_OG = gram_OGG.diagonal(dim1=-2, dim2=-1)
        distance_OGG = square_OG.unsqueeze(-1) + square_OG.unsqueeze(-2) - 2 * gram_OGG
        # The first row of counts is all ones: the groups as they are.
        variance_RO = mean_over_pairs(distance_OGG, counts_RG) / (
            2 * self.settings.groups_per_mini_batch
        )
        mean_square_RO = mean_over_pairs(gram_OGG, counts_RG)
        reference = int(self.order_O.abs().argmin())
        to_reference_RO = variance_RO / variance_RO[:, reference, None]
        to_mean_RO = torch.where(mean_square_RO > 0, variance_RO / mean_square_RO, math.inf)
        smallest_R, smallest_relative_R = (
            values_RO[1:].argmin(-1) for values_RO in (variance_RO, to_mean_RO)
        )
        return [
            Variance(
                total=estimate(variance_RO[:, index]),
                relative_to_reference=estimate(to_reference_RO[:, index]),
                relative_to_mean=estimate(to_mean_RO[:, index]),
                smallest_frac=(smallest_R == index).double().mean().item(),
                smallest_relative_frac=(smallest_relative_R == index).double().mean().item(),
            )
            for index in range(len(self.order_O))
        ]

    def _quotients(self, above_OB: Tensor, below_OB: Tensor, counts_RG: Tensor) -> list[Estimate]:
        counts_RB = counts_RG[:, self.group_B]
        quotient_RO = (counts_RB @ above_OB.T) / (counts_RB @ below_OB.T)
        return [estimate(quotient_R) for quotient_R in quotient_RO.T]

    def _directions(self, norm_N: Tensor) -> TokenDirections:
        cosine_N = torch.cat(self.cosines)
        # torch.quantile takes 16 million numbers at most.
        ordered_N = cosine_N.sort().values
        places = [round(fraction * (len(ordered_N) - 1)) for fraction in COSINE_QUANTILES]
        histogram = torch.histc(cosine_N, NUM_COSINE_BINS, -1.0, 1.0).long()
        return TokenDirections(
            num_pairs=len(cosine_N),
            mean=cosine_N.mean().item(),
            mean_absolute=cosine_N.abs().mean().item(),
            quantiles=tuple(ordered_N[place].item() for place in places),
            histogram=tuple(histogram.tolist()),
            square_of_sum_over_sum_of_squares=self.square_of_sum / norm_N.square().sum().item(),
        )
