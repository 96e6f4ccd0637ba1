"""Calibration against a loop over samples, and against networks whose calibration is known."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from pipeline.evaluation.classified.calibration import BINS, Calibration


def drawn(samples: int, classes: int, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores, and labels drawn by the probabilities that the scores say: such a network is calibrated."""
    draw = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(samples, classes, generator=draw)
    return scores, torch.multinomial(scores.softmax(1), 1, generator=draw).flatten()


def test_the_error_is_that_of_a_loop_over_samples() -> None:
    scores, labels = drawn(400, 6, spread=2.0)
    labels[::7] = -1
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for row, label in zip(scores.double().tolist(), labels.tolist(), strict=True):
        if label >= 0:
            exponentials = [math.exp(value) for value in row]
            confidence = max(exponentials) / sum(exponentials)
            place = next(n for n in range(BINS) if n / BINS < confidence <= (n + 1) / BINS)
            bins[place].append((confidence, row.index(max(row)) == label))
    filled = [held for held in bins if held]
    pairs = [(sum(c for c, _ in held) / len(held), sum(r for _, r in held) / len(held)) for held in filled]
    total = sum(map(len, filled))
    found = Calibration.of(scores, labels)
    assert found.samples == total == int((labels >= 0).sum())
    expected = sum(len(held) / total * abs(c - a) for held, (c, a) in zip(filled, pairs, strict=True))
    assert found.error == pytest.approx(expected)
    assert [number for pair in found.reliability() for number in pair] == pytest.approx(
        [n for pair in pairs for n in pair]
    )


def test_the_likelihood_is_scikit_learns() -> None:
    scores, labels = drawn(300, 5)
    expected = log_loss(labels.numpy(), scores.double().softmax(1).numpy(), labels=range(5))
    assert Calibration.of(scores, labels).nll == pytest.approx(expected, rel=1e-5)


def test_a_network_that_says_the_truth_has_no_error_and_one_that_boasts_has() -> None:
    scores, labels = drawn(200_000, 4)
    assert Calibration.of(scores, labels).error < 0.005
    boasting, humble = Calibration.of(5 * scores, labels), Calibration.of(0.2 * scores, labels)
    assert boasting.overconfidence == pytest.approx(boasting.error, abs=0.01)
    assert boasting.error > 0.2
    assert humble.overconfidence == pytest.approx(-humble.error, abs=0.01)


def test_batches_add_up() -> None:
    scores, labels = drawn(100, 3)
    whole = Calibration.of(scores, labels)
    parts = Calibration.of(scores[:33], labels[:33]) + Calibration.of(scores[33:], labels[33:])
    assert torch.equal(whole.counts, parts.counts)
    assert torch.equal(whole.right, parts.right)
    assert (whole.error, whole.nll) == pytest.approx((parts.error, parts.nll))


def test_extreme_scores_overflow_nothing() -> None:
    found = Calibration.of(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([0, 0]))
    assert found.reliability() == [(1.0, 0.5)]
    assert found.nll == pytest.approx(5000)


def test_samples_without_a_label_are_no_samples() -> None:
    found = Calibration.of(torch.zeros(2, 3), torch.tensor([-1, -1]))
    assert (found.samples, found.error, found.nll, found.reliability()) == (0, 0.0, 0.0, [])
