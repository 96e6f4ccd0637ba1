"""Accuracy of a classifier, from scores."""

from __future__ import annotations

import warnings

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from pipeline.evaluation.classified.accuracy import Accuracy


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
        "per_class": {"cat": 0.5, "dog": 0.5},
        "confused": [
            {"is": "cat", "taken_for": "dog", "samples": 2},
            {"is": "dog", "taken_for": "cat", "samples": 1},
        ],
    }


def test_a_class_without_samples_has_no_share() -> None:
    accuracy = Accuracy.of(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 1, 1]))
    assert accuracy.to_mapping(("cat", "dog", "owl"))["per_class"] == {"cat": 1.0, "dog": 0.5}
    assert accuracy.balanced == pytest.approx(0.75)


def test_balanced_accuracy_is_scikit_learns() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(200, 6, generator=draw), torch.randint(0, 5, (200,), generator=draw)
    accuracy = Accuracy.of(scores, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of class 5, which is guessed and never right
        theirs = balanced_accuracy_score(labels.numpy(), scores.argmax(1).numpy())
    assert accuracy.balanced == pytest.approx(theirs)
    assert accuracy.top5 == pytest.approx(top_k_accuracy_score(labels.numpy(), scores.numpy(), k=5, labels=range(6)))


def test_batches_add_up() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(90, 7, generator=draw), torch.randint(-1, 7, (90,), generator=draw)
    whole, parts = (
        Accuracy.of(scores, labels),
        Accuracy.of(scores[:20], labels[:20]) + Accuracy.of(scores[20:], labels[20:]),
    )
    assert torch.equal(whole.confusion, parts.confusion)
    assert (whole.top1, whole.top5) == (parts.top1, parts.top5)
