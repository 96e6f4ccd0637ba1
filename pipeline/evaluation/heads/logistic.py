"""Multinomial logistic regression on cached features, to its optimum: the linear probe that needs no rate.

- features are standardised with the mean and deviation of the training set, per dimension;
- the objective is mean cross-entropy + strength / 2 * |W|^2 (the bias goes free), convex, minimised by L-BFGS to its
  optimum: no rate, schedule or seed to tune;
- of several strengths the one that does best on a held-out tenth of the training set is fitted again on all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.features import Features


class Linear(NamedTuple):
    """A fitted classifier of raw features."""

    weight: Tensor
    """(classes, D)"""
    bias: Tensor
    """(classes)"""
    strength: float
    """Weight of the penalty it was fitted with."""

    def scores(self, features: Tensor) -> Tensor:
        """Class scores (N, classes) of features (N, D)."""
        return F.linear(features.float(), self.weight, self.bias)


class LogisticRegression:
    """Fits a linear classifier by L-BFGS."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        strengths: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
        """Weights of the penalty that are tried."""
        iterations: int = 200
        """Most iterations of L-BFGS per fit."""
        seed: int = 0
        """Seed of the choice of the held-out tenth."""

        def __post_init__(self) -> None:
            if not self.strengths or min(self.strengths) < 0 or self.iterations < 1:
                raise ValueError("strengths needs at least one number, none below 0, and iterations must be at least 1")

        def build(self) -> LogisticRegression:
            return LogisticRegression(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    def accuracy(self, bank: Features, query: Features) -> float:
        """Share of labelled queries that a probe fitted on the labelled bank tells right."""
        bank, query = bank.labelled(), query.labelled()
        scores = self.fit(bank.features, bank.labels, int(bank.labels.max()) + 1).scores(query.features)
        return float((scores.argmax(1) == query.labels).float().mean())

    def fit(self, features: Tensor, labels: Tensor, classes: int) -> Linear:
        """The classifier of features (N, D) with labels (N), by the best of the strengths."""
        mean = features.float().mean(0)
        scale = 1 / features.float().std(0, correction=0).clamp_min(1e-6)
        values = (features.float() - mean) * scale
        start = torch.zeros(classes, values.shape[1] + 1, device=values.device)
        strength = self._choose(values, labels, start)
        weight = minimise(values, labels, start, strength, self.config.iterations)
        matrix = weight[:, :-1] * scale
        return Linear(matrix, weight[:, -1] - matrix @ mean, strength)

    def _choose(self, values: Tensor, labels: Tensor, weight: Tensor) -> float:
        if len(self.config.strengths) == 1 or len(values) < 10:
            return self.config.strengths[0]
        order = torch.randperm(len(values), generator=torch.Generator().manual_seed(self.config.seed)).to(values.device)
        held, kept = order[: len(order) // 10], order[len(order) // 10 :]
        scores = []
        # From strong to weak: each optimum is a good start for the next.
        for strength in sorted(self.config.strengths, reverse=True):
            weight = minimise(values[kept], labels[kept], weight, strength, self.config.iterations)
            correct = (predict(values[held], weight).argmax(1) == labels[held]).float().mean()
            scores.append((float(correct), strength))
        return max(scores)[1]


def minimise(values: Tensor, labels: Tensor, start: Tensor, strength: float, iterations: int) -> Tensor:
    """Weights (classes, D + 1), the bias last, at the optimum of the penalised cross-entropy, from `start`."""
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=iterations,
        tolerance_grad=1e-6,
        tolerance_change=1e-7,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(predict(values, weight), labels) + strength / 2 * weight[:, :-1].square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach()


def predict(values: Tensor, weight: Tensor) -> Tensor:
    """Class scores (N, classes) of values (N, D) by weights (classes, D + 1), the bias last."""
    return F.linear(values, weight[:, :-1], weight[:, -1])
