"""Weighted k nearest neighbours (Wu et al. 2018, section 3.4; the protocol of DINO and SwAV).

The k most similar bank features vote for their classes, each with weight exp(cosine / temperature). No training, so
it is the quickest honest word on features. A grid of k and temperature costs one search for the largest k.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.neighbours import BLOCK, Neighbours, nearest


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
        found = nearest(query.features, in_chunks(bank), min(self.config.k, len(bank.labels)))
        classes = int(bank.labels.max()) + 1
        right = Grid.of(found, query.labels, classes, [self.config.k], [self.config.temperature])
        return int(right.top1[0, 0]) / max(1, right.asked)


@dataclass(frozen=True)
class Grid:
    """How many queries were told right, for every k (rows) and temperature (columns)."""

    top1: Tensor
    """Whose class had most votes (ks, temperatures), int64."""
    top5: Tensor
    """Whose class was among the five with most votes; one without a vote is not."""
    asked: int
    """Labelled queries."""

    @classmethod
    def of(
        cls, found: Neighbours, labels: Tensor, classes: int, ks: Sequence[int], temperatures: Sequence[float]
    ) -> Grid:
        """From the neighbours of queries with these labels (Q); a label below 0 does not count."""
        top1, top5 = (torch.zeros(len(ks), len(temperatures), dtype=torch.int64) for _ in range(2))
        for start in range(0, len(labels), BLOCK):
            block = slice(start, start + BLOCK)
            asked = labels[block] >= 0
            similarity, theirs, _ = (part[block][asked.to(part.device)] for part in found)
            truth = labels[block][asked].to(theirs.device).unsqueeze(1)
            for column, temperature in enumerate(temperatures):
                # Relative to the nearest: the winner is the same and no weight overflows at a low temperature.
                weights = ((similarity - similarity[:, :1]) / temperature).exp()
                votes, voted = torch.zeros(len(truth), classes, device=theirs.device), 0
                for k in sorted(set(ks)):
                    more = slice(voted, min(k, weights.shape[1]))
                    votes.scatter_add_(1, theirs[:, more], weights[:, more])
                    voted = more.stop
                    values, ranked = votes.topk(min(5, classes), 1)
                    hits = (ranked == truth) & (values > 0)
                    for row in (row for row, asks in enumerate(ks) if asks == k):
                        top1[row, column] += int(hits[:, 0].sum())
                        top5[row, column] += int(hits.sum())
        return cls(top1, top5, int((labels >= 0).sum()))

    def best(self) -> tuple[int, int]:
        """Row and column of most right; of equals the first row, and in it the first column."""
        place = int(self.top1.flatten().argmax())
        return place // self.top1.shape[1], place % self.top1.shape[1]


def in_chunks(features: Features, rows: int = 4096) -> Iterable[Features]:
    """Features in memory as a bank of chunks."""
    for start in range(0, len(features.labels), rows):
        yield Features(*(part[start : start + rows] for part in features))
