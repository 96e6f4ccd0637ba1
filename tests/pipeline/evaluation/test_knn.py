"""Weighted kNN against a transcription that asks one query at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from pipeline.evaluation.knn import KNN, vote


def reference(queries: Tensor, bank: Tensor, labels: Tensor, classes: int, k: int, temperature: float) -> list[int]:
    """Wu et al. 2018, section 3.4: w_c = sum over the k nearest of exp(s / temperature) [label = c], argmax over c."""
    predictions = []
    for query in queries.double():
        similarities = [float(query @ row / (query.norm() * row.norm())) for row in bank.double()]
        nearest = sorted(range(len(bank)), key=lambda i: -similarities[i])[:k]
        weights = [0.0] * classes
        for i in nearest:
            weights[int(labels[i])] += math.exp(similarities[i] / temperature)
        predictions.append(max(range(classes), key=weights.__getitem__))
    return predictions


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (500, 0.1)])
def test_predictions_equal_the_transcription(k: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(60, 8, generator=draw), torch.randn(25, 8, generator=draw)
    labels = torch.randint(0, 4, (60,), generator=draw)
    votes = vote(queries, bank, labels, 4, k=k, temperature=temperature)
    assert votes.argmax(1).tolist() == reference(queries, bank, labels, 4, k, temperature)


def test_the_size_of_chunks_does_not_matter() -> None:
    bank, queries, labels = torch.randn(60, 8), torch.randn(25, 8), torch.randint(0, 4, (60,))
    torch.testing.assert_close(vote(queries, bank, labels, 4, chunk=7), vote(queries, bank, labels, 4, chunk=100))


def test_a_low_temperature_does_not_overflow() -> None:
    bank, labels = torch.randn(60, 8), torch.randint(0, 4, (60,))
    assert vote(bank, bank, labels, 4, temperature=1e-4).isfinite().all()
    assert torch.equal(vote(bank, bank, labels, 4, temperature=1e-4).argmax(1), labels)


def test_samples_without_labels_neither_vote_nor_are_asked() -> None:
    values, index = torch.eye(4), torch.arange(4)
    bank = Features(values, torch.tensor([0, 1, -1, -1]), index)
    query = Features(values[[0, 1, 2]] + 0.01, torch.tensor([0, 1, -1]), index[:3])
    assert KNN.Config(k=1).build().accuracy(bank, query) == 1.0


@pytest.mark.parametrize("change", [{"k": 0}, {"temperature": 0.0}])
def test_a_config_that_means_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        KNN.Config(**change)  # type: ignore[arg-type]
