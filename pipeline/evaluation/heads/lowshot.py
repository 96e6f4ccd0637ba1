"""Low-shot: logistic regression on a few labelled samples of each class, again and again on others.

A draw is a seeded choice of samples; what it gives differs from draw to draw far more than a test set of thousands can
blur, so the figure is a mean over draws with its interval. Features are of unit length, as neighbours are compared:
a deviation of each dimension cannot be told from a few samples. The penalty is chosen inside a draw, by
cross-validation in three folds, as VISSL chose the costs of its support vector machines; no test sample has a say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.heads.logistic import minimise, predict

FOLDS = 3


class Fit(NamedTuple):
    """A classifier of unit features."""

    strength: float
    """Weight of the penalty that was chosen."""
    weight: Tensor
    """(classes, width + 1), the bias last."""

    def right(self, features: Tensor, labels: Tensor) -> int:
        """How many labelled samples it takes for what they are, given features (N, width) and labels (N)."""
        scores = predict(unit(features.to(self.weight.device)), self.weight)
        return int((scores.argmax(1).to(labels.device) == labels).sum())


def fit(features: Tensor, labels: Tensor, classes: int, strengths: Sequence[float], iterations: int) -> Fit:
    """The classifier of features (N, width) with labels (N); a class that has none is never chosen.

    `strengths` are the penalties among which cross-validation chooses, the first where a class has one sample; L-BFGS
    has at most so many `iterations`.
    """
    values = unit(features)
    start = torch.zeros(classes, values.shape[1] + 1, device=values.device)
    folds = min(FOLDS, int(torch.bincount(labels).max()))
    strength = _choose(values, labels, start, strengths, folds, iterations)
    return Fit(strength, minimise(values, labels, start, strength, iterations))


def unit(features: Tensor) -> Tensor:
    """Features (N, width) of length one."""
    return F.normalize(features.float(), dim=1)


def _choose(
    values: Tensor, labels: Tensor, start: Tensor, strengths: Sequence[float], folds: int, iterations: int
) -> float:
    if len(strengths) == 1 or folds < 2:
        return strengths[0]
    fold = torch.empty_like(labels)
    for label in torch.unique(labels):
        members = labels == label
        fold[members] = torch.arange(int(members.sum()), device=labels.device) % folds
    right = dict.fromkeys(strengths, 0)
    for number in range(folds):
        held, weight = fold == number, start
        # From strong to weak: each optimum is a good start for the next.
        for strength in sorted(strengths, reverse=True):
            weight = minimise(values[~held], labels[~held], weight, strength, iterations)
            right[strength] += int((predict(values[held], weight).argmax(1) == labels[held]).sum())
    return max(right, key=lambda strength: (right[strength], strength))
