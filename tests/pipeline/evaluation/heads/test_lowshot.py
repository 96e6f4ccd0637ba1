"""Low-shot classifiers against scikit-learn's, and the choice of their penalty."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.evaluation.heads.logistic import predict
from pipeline.evaluation.heads.lowshot import fit, unit
from pipeline.evaluation.labels.splits import few
from tests.pipeline.evaluation.made_features import clouds


def shots(labels: Tensor, count: int, seed: int) -> Tensor:
    return torch.from_numpy(few(labels.numpy(), count, seed))


def test_a_fit_is_the_optimum_of_scikit_learn_on_unit_features() -> None:
    logistic = pytest.importorskip("sklearn.linear_model")
    features, labels = clouds(300, 0)
    rows = shots(labels, 4, 0)
    queries, answers = clouds(500, 1)
    reference = logistic.LogisticRegression(C=1 / (20 * 1e-3), max_iter=5000, tol=1e-8)
    reference.fit(unit(features[rows]).numpy(), labels[rows].numpy())
    found = fit(features[rows], labels[rows], 5, (1e-3,), 500)
    expected = torch.from_numpy(reference.decision_function(unit(queries).numpy())).float()
    scores = predict(unit(queries), found.weight)
    centred = scores - scores.mean(1, keepdim=True)
    torch.testing.assert_close(centred, expected - expected.mean(1, keepdim=True), rtol=2e-2, atol=2e-2)
    # The features' length has no say, as it has none among neighbours.
    assert found.right(7 * queries, answers) == round(500 * reference.score(unit(queries).numpy(), answers.numpy()))


def test_the_penalty_is_that_of_scikit_learns_cross_validation() -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_score

    features, labels = clouds(2000, 0, width=40, distance=0.5)
    rows = shots(labels, 30, 0)
    values, answers = unit(features[rows]), labels[rows]
    fold = torch.empty_like(answers)
    for label in range(5):
        fold[answers == label] = torch.arange(30) % 3
    strengths = (1e-1, 1e-2, 1e-3, 1e-5)
    means = {
        strength: cross_val_score(
            LogisticRegression(C=1 / (100 * strength), max_iter=5000),
            values.numpy(),
            answers.numpy(),
            cv=PredefinedSplit(fold.numpy()),
        ).mean()
        for strength in strengths
    }
    assert max(means.values()) - min(means.values()) > 0.02, "the penalty has to matter for this to say something"
    assert fit(features[rows], answers, 5, strengths, 1000).strength == max(means, key=means.__getitem__)


def test_with_one_sample_a_class_the_first_penalty_is_taken() -> None:
    features, labels = clouds(100, 0)
    rows = shots(labels, 1, 0)
    assert fit(features[rows], labels[rows], 5, (1e-3, 1e-1), 50).strength == 1e-3
