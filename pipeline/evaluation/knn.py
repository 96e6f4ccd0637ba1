"""Weighted k nearest neighbours (Wu et al. 2018, section 3.4; the protocol of DINO and SwAV).

The k most similar bank features vote for their classes, each with weight exp(cosine / temperature). No training, so
it is the quickest honest word on features. Queries go through in chunks: memory is `chunk` times the bank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.features import Features


class KNN:
    """Asks the nearest neighbours."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        k: int = 20
        """Neighbours that vote; 20 is the usual choice of 10, 20, 100 and 200."""
        temperature: float = 0.07
        """Divides the cosine in a vote's weight; lower trusts the nearest more."""

        def __post_init__(self) -> None:
            if self.k < 1 or self.temperature <= 0:
                raise ValueError("k must be at least 1 and temperature above 0")

        def build(self) -> KNN:
            return KNN(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    def accuracy(self, bank: Features, query: Features) -> float:
        """Share of labelled queries whose class the labelled bank tells right."""
        bank, query = bank.labelled(), query.labelled()
        classes = int(bank.labels.max()) + 1
        k, temperature = self.config.k, self.config.temperature
        votes = vote(query.features, bank.features, bank.labels, classes, k=k, temperature=temperature)
        return float((votes.argmax(1) == query.labels).float().mean())


@torch.no_grad()
def vote(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    classes: int,
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """Votes (Q, classes) for queries (Q, D), given the bank (N, D) and its labels (N). k is held to N."""
    bank = F.normalize(bank.float(), dim=1)
    k = min(k, len(bank))
    votes = torch.zeros(len(queries), classes, device=bank.device)
    for start in range(0, len(queries), chunk):
        part = F.normalize(queries[start : start + chunk].float(), dim=1)
        similarity, nearest = (part @ bank.T).topk(k, dim=1)
        # Relative to the nearest: the winner is the same and no weight overflows at a low temperature.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes[start : start + chunk].scatter_add_(1, labels[nearest], weights)
    return votes
