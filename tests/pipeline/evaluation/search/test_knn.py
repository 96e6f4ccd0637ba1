"""Weighted kNN against a transcription that asks one query at a time, and the whole grid against single questions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.knn import KNN, Grid, in_chunks
from pipeline.evaluation.search.neighbours import Neighbours, nearest


def reference(
    queries: Tensor, bank: Tensor, labels: Tensor, classes: int, k: int, temperature: float
) -> list[list[int]]:
    """Wu et al. 2018, section 3.4: w_c = sum over the k nearest of exp(s / temperature) [label = c], c by falling w."""
    predictions = []
    for query in queries.double():
        similarities = [float(query @ row / (query.norm() * row.norm())) for row in bank.double()]
        nearest = sorted(range(len(bank)), key=lambda i: -similarities[i])[:k]
        weights = [0.0] * classes
        for i in nearest:
            weights[int(labels[i])] += math.exp(similarities[i] / temperature)
        order = sorted(range(classes), key=lambda c: -weights[c])
        predictions.append([c for c in order if weights[c] > 0])
    return predictions


def features(count: int, classes: int, seed: int) -> Features:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=draw)
    return Features(torch.randn(count, 8, generator=draw), labels, torch.arange(count))


KS, TEMPERATURES = (5, 1, 20, 500), (0.5, 0.07, 0.1)


def test_every_place_of_the_grid_equals_the_transcription() -> None:
    bank, query = features(60, 9, 0), features(25, 9, 1)
    found = nearest(query.features, in_chunks(bank, 17), 60)
    grid = Grid.of(found, query.labels, 9, KS, TEMPERATURES)
    for row, k in enumerate(KS):
        for column, temperature in enumerate(TEMPERATURES):
            told = reference(query.features, bank.features, bank.labels, 9, k, temperature)
            places = list(zip(told, query.labels.tolist(), strict=True))
            assert grid.top1[row, column] == sum(ranked[0] == label for ranked, label in places)
            assert grid.top5[row, column] == sum(label in ranked[:5] for ranked, label in places)
            alone = KNN.Config(k=k, temperature=temperature).build().accuracy(bank, query)
            assert alone == int(grid.top1[row, column]) / 25
    assert grid.asked == 25


def test_the_best_of_a_grid_is_the_first_of_equals() -> None:
    counts = torch.tensor([[1, 3], [3, 2]])
    assert Grid(counts, counts, 4).best() == (0, 1)


def test_a_low_temperature_does_not_overflow() -> None:
    bank = features(60, 4, 0)
    assert KNN.Config(temperature=1e-4).build().accuracy(bank, bank) == 1.0


def test_samples_without_labels_neither_vote_nor_are_asked() -> None:
    values, index = torch.eye(4), torch.arange(4)
    bank = Features(values, torch.tensor([0, 1, -1, -1]), index)
    query = Features(values[[0, 1, 2]] + 0.01, torch.tensor([0, 1, -1]), index[:3])
    assert KNN.Config(k=1).build().accuracy(bank, query) == 1.0


def test_who_has_no_vote_is_not_among_the_first_five() -> None:
    found = Neighbours(torch.tensor([[0.9, 0.1]]), torch.tensor([[3, 3]]), torch.tensor([[0, 1]]))
    grids = [Grid.of(found, torch.tensor([label]), 4, [2], [0.1]) for label in range(4)]
    assert [int(grid.top5) for grid in grids] == [0, 0, 0, 1]


@pytest.mark.parametrize("change", [{"k": 0}, {"temperature": 0.0}])
def test_a_config_that_means_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        KNN.Config(**change)  # type: ignore[arg-type]
