"""SwAV once more, written down from the paper (Caron et al. 2020) and from what VISSL adds, for tests to compare with.

Nothing is stabilised, batched or distributed: one crop, one set of prototypes and one pair of views at a time, in fp64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F


def marginal(prototypes: int, power_law: float = 0.0) -> Tensor:
    """VISSL's r (K): 1 / k ** power_law, brought to a sum of 1."""
    r = torch.tensor([1.0 / (k + 1.0) ** power_law for k in range(prototypes)], dtype=torch.float64)
    return r / r.sum()


def codes_of(scores: Tensor, epsilon: float, iterations: int, power_law: float = 0.0) -> Tensor:
    """Algorithm 1 as written there: scores (samples, K) -> codes (samples, K)."""
    q = torch.exp((scores.double() - scores.max().double()) / epsilon).T
    q /= q.sum()
    prototypes, samples = q.shape
    r, c = marginal(prototypes, power_law), torch.full((samples,), 1 / samples, dtype=torch.float64)
    for _ in range(iterations):
        q *= (r / q.sum(1)).unsqueeze(1)
        q *= (c / q.sum(0)).unsqueeze(0)
    return (q / q.sum(0, keepdim=True)).T


def codes_in_logarithms(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The same, never leaving logarithms: for score ranges that no exp survives."""
    log_q = scores.double() / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0, keepdim=True)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.exp()


def loss_of(scores: Tensor, codes: Sequence[Tensor], temperature: float) -> Tensor:
    """Equation 2 with multi-crop: scores (views, batch, K), and codes (batch, K) of the first views."""
    pairs = []
    for a, q in enumerate(codes):
        for v in range(len(scores)):
            if v != a:
                pairs.append(-(q * F.log_softmax(scores[v] / temperature, dim=1)).sum(1).mean())
    return torch.stack(pairs).mean()


@dataclass
class Paper:
    """A whole objective with its queue, given embeddings and prototypes."""

    epsilon: float = 0.05
    iterations: int = 3
    temperature: float = 0.1
    assigned: int = 2
    power_law: float = 0.0
    hard_codes: int = 0
    queue_batches: int = 0
    queue_start: float = 0.0
    past: list[Tensor] = field(default_factory=list)

    def loss(self, embeddings: Tensor, sets: Sequence[Tensor], step: int, epoch: float) -> Tensor:
        """Of embeddings (views, batch, dim) and prototypes (K, dim); the embeddings then go into the queue."""
        losses = []
        for prototypes in sets:
            codes = []
            for crop in range(self.assigned):
                samples = embeddings[crop].detach()
                if self.queue_batches and len(self.past) == self.queue_batches and epoch >= self.queue_start:
                    samples = torch.cat([batch[crop] for batch in self.past] + [samples])
                q = codes_of(samples @ prototypes.detach().T, self.epsilon, self.iterations, self.power_law)
                q = q[-embeddings.shape[1] :]
                if step < self.hard_codes:
                    q = F.one_hot(q.argmax(1), q.shape[1]).double()
                codes.append(q)
            losses.append(loss_of(embeddings @ prototypes.T, codes, self.temperature))
        self.past = (
            [*self.past, embeddings[: self.assigned].detach()][-self.queue_batches :] if self.queue_batches else []
        )
        return torch.stack(losses).mean()


def cosines(*shape: int, seed: int = 0) -> Tensor:
    """Scores of random unit vectors against random unit prototypes."""
    draw = torch.Generator().manual_seed(seed)
    *lead, prototypes = shape
    embeddings = F.normalize(torch.randn(*lead, 8, generator=draw), dim=-1)
    return embeddings @ F.normalize(torch.randn(prototypes, 8, generator=draw), dim=-1).T
