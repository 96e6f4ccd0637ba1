"""Accuracy of a classifier, from scores and from batches."""

from __future__ import annotations

import pytest
import torch

from pipeline.evaluation.accuracy import Accuracy, classify
from pipeline.evaluation.features import extract
from tests.pipeline.evaluation.test_features import batches
from tests.pipeline.networks import small_backbone


def test_labelled_rows_count_whose_class_ranks_first_or_among_five() -> None:
    scores = torch.eye(7)[[0, 1, 2, 3]] + torch.linspace(0.06, 0, 7)
    accuracy = Accuracy.of(scores, torch.tensor([0, 2, 6, -1]))
    assert accuracy.samples == 3
    assert accuracy.top1 == pytest.approx(1 / 3)
    assert accuracy.top5 == pytest.approx(2 / 3)
    assert accuracy.confusion.nonzero().tolist() == [[0, 0], [2, 1], [6, 2]]


def test_by_class_and_by_confused_pair() -> None:
    predicted, labels = torch.tensor([0, 0, 1, 1, 1, 0]), torch.tensor([0, 0, 0, 0, 1, 1])
    assert Accuracy.of(torch.eye(3)[predicted], labels).to_mapping(("cat", "dog", "owl")) == {
        "accuracy": pytest.approx(0.5),
        "accuracy_top5": pytest.approx(1),
        "samples": 6,
        "per_class": {"cat": 0.5, "dog": 0.5, "owl": 0.0},
        "confused": [
            {"is": "cat", "taken_for": "dog", "samples": 2},
            {"is": "dog", "taken_for": "cat", "samples": 1},
        ],
    }


def test_every_sample_of_the_batches_is_asked_about() -> None:
    torch.manual_seed(0)
    backbone, weight = small_backbone(), torch.randn(3, 16)
    features = extract(backbone, batches(3))
    expected = Accuracy.of(features.features @ weight.T, features.labels)
    found = classify(backbone, lambda x: x @ weight.T, batches(4))
    assert (found.top1, found.top5) == (expected.top1, expected.top5)
    assert torch.equal(found.confusion, expected.confusion)
