"""Sinkhorn-Knopp: codes that use all prototypes as a prior says, over the batch of all processes (Caron et al. 2020).

The plain algorithm takes Q = exp(scores / epsilon), and in turn divides its rows (prototypes) by their sums over the
batch and its columns (samples) by theirs. Here the divisors are collected in two vectors and Q is never rewritten:

- Q = P * weight, with P scaled to a maximum of 1 a sample and weight relative to the maximum of all processes, so
  nothing overflows and no sample underflows to zero whatever the range of scores;
- an iteration is two matrix-vector products and one collective for all crops and all sets of prototypes; one more
  finds the maximum, and travels while the exponentials are computed.

A constant factor of the divisors cancels out: they are kept near 1, and processes may hold different numbers of
samples. All is fp32 at least, and the host never waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.precision import wide
from pipeline.objectives.collectives import maximum_, sum_


@torch.no_grad()
def sinkhorn(
    scores: Sequence[Tensor],
    epsilon: float,
    iterations: int,
    *,
    queued: Sequence[Tensor] = (),
    power_law: float = 0.0,
) -> list[Tensor]:
    """Codes (crops, batch, K), one for each set of prototypes, given scores of that shape.

    `queued` are scores (crops, samples, K) of samples that take part but whose codes nobody wants, for each set too;
    they are many, and used up.
    """
    with torch.autocast(scores[0].device.type, enabled=False):
        parts = zip(scores, queued, strict=True) if queued else ((batch,) for batch in scores)
        plans = [_Plan([wide(part) for part in those]) for those in parts]
        highest = maximum_(torch.stack([plan.highest() for plan in plans]))
        for plan in plans:
            plan.exponentiate(epsilon)
        for plan, top in zip(plans, highest(), strict=True):
            plan.weigh(top, epsilon)
        priors = [prior(batch.shape[-1], power_law, plan.weights[0]) for batch, plan in zip(scores, plans, strict=True)]
        for _ in range(iterations):
            used = [plan.used() for plan in plans]
            totals = sum_(torch.cat([each.flatten() for each in used]))
            each_total = totals.split_with_sizes([each.numel() for each in used])
            for plan, share, total in zip(plans, priors, each_total, strict=True):
                plan.divide(share, total)
        return [plan.codes() for plan in plans]


def prior(prototypes: int, power_law: float, like: Tensor) -> Tensor:
    """Share of the samples that each prototype is to have (K): in proportion to 1 / k ** power_law for the k-th.

    With an exponent of 0 all are equal, as in the paper. The power law is VISSL's `shk_powerlaw`: a marginal of
    Sinkhorn-Knopp, tied to the number of a prototype; unlike that of Assran et al. 2022 it is no term of the loss.
    """
    shares = torch.arange(1, prototypes + 1, dtype=like.dtype, device=like.device).pow_(-power_law)
    # A share that underflowed would leave a sample next to its prototype without any.
    return shares.div_(shares.sum()).clamp_min_(torch.finfo(like.dtype).tiny ** 0.5)


def harden_(codes: Tensor) -> Tensor:
    """Codes (..., K) with all of a sample on the prototype that had most, in place."""
    nearest = codes.argmax(-1, keepdim=True)
    return codes.zero_().scatter_(-1, nearest, 1)


class _Plan:
    """The samples and the prototypes of one set: parts (the batch, the queue) of P, and the two vectors of divisors."""

    def __init__(self, scores: list[Tensor]) -> None:
        self.scores = scores
        self.peaks = [part.amax(-1) for part in scores]
        self.parts: list[Tensor] = []
        self.weights: list[Tensor] = []

    def highest(self) -> Tensor:
        """The highest score of this process (crops)."""
        return torch.cat(self.peaks, dim=-1).amax(-1)

    def exponentiate(self, epsilon: float) -> None:
        (batch, *queued), (peaks, *others) = self.scores, self.peaks
        self.parts = [batch - peaks.unsqueeze(-1)]
        self.parts += [part.sub_(their.unsqueeze(-1)) for part, their in zip(queued, others, strict=True)]
        for part in self.parts:
            part.mul_(1 / epsilon).exp_()

    def weigh(self, highest: Tensor, epsilon: float) -> None:
        self.weights = [torch.exp((peaks - highest.unsqueeze(-1)) / epsilon) for peaks in self.peaks]

    def used(self) -> Tensor:
        """What each prototype has been given by this process's samples (crops, K)."""
        sums = [_products(part.mT, weights) for part, weights in zip(self.parts, self.weights, strict=True)]
        return sums[0] if len(sums) == 1 else sums[0].add_(sums[1])

    def divide(self, prior: Tensor, used: Tensor) -> None:
        """An iteration: first the prototypes by their sums over all processes, then the samples by theirs."""
        used = used.view(-1, len(prior))
        used = (used / used.amax(-1, keepdim=True)).clamp_min_(torch.finfo(used.dtype).tiny)
        self.shares = prior / used
        self.weights = [_products(part, self.shares).reciprocal_() for part in self.parts]

    def codes(self) -> Tensor:
        """The codes of the first part, the batch; P is used up."""
        return self.parts[0].mul_(self.shares.unsqueeze(1)).mul_(self.weights[0].unsqueeze(-1))


def _products(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrix times vector for each crop: (crops, m, n), (crops, n) -> (crops, m)."""
    return torch.stack([matrix @ vector for matrix, vector in zip(matrices, vectors, strict=True)])
