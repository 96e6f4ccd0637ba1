"""Logistic regression against scikit-learn's logistic regression."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from pipeline.evaluation.heads.logistic import LogisticRegression


def clusters(
    samples: int, seed: int, classes: int = 5, width: int = 20, distance: float = 0.6
) -> tuple[Tensor, Tensor]:
    """Overlapping clouds whose dimensions differ in scale and offset."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7)) * distance
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=draw)
    features = centres[labels] + torch.randn(samples, width, generator=draw)
    return features * torch.logspace(-2, 2, width) + 5, labels


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).float().mean())


def test_at_the_same_penalty_it_finds_the_optimum_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clusters(600, 0)
    queries, answers = clusters(400, 1)
    mean, std = features.mean(0), features.std(0, correction=0)
    # scikit-learn weighs the sum of losses by C against |W|^2 / 2, we weigh |W|^2 / 2 against their mean.
    reference = linear_model.LogisticRegression(C=1 / (600 * 1e-2), max_iter=5000, tol=1e-8)
    reference.fit(((features - mean) / std).numpy(), labels.numpy())
    fitted = LogisticRegression.Config(strengths=(1e-2,), iterations=1000).build().fit(features, labels, 5)
    expected = torch.from_numpy(reference.decision_function(((queries - mean) / std).numpy()))
    scores = fitted.scores(queries).double()
    centred = scores - scores.mean(1, keepdim=True)
    torch.testing.assert_close(centred, (expected - expected.mean(1, keepdim=True)).double(), rtol=1e-2, atol=1e-2)
    assert abs(accuracy(scores, answers) - reference.score(((queries - mean) / std).numpy(), answers.numpy())) < 0.01


def test_the_chosen_penalty_is_as_good_as_the_best_of_scikit_learn_within_a_point() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clusters(150, 0, width=60, distance=0.25)
    queries, answers = clusters(1000, 1, width=60, distance=0.25)
    mean, std = features.mean(0), features.std(0, correction=0)
    scores = []
    for strength in (1e-1, 1e-2, 1e-3, 1e-4):
        reference = linear_model.LogisticRegression(C=1 / (150 * strength), max_iter=5000)
        reference.fit(((features - mean) / std).numpy(), labels.numpy())
        scores.append(reference.score(((queries - mean) / std).numpy(), answers.numpy()))
    index = torch.arange(1000)
    found = (
        LogisticRegression.Config()
        .build()
        .accuracy(Features(features, labels, index[:150]), Features(queries, answers, index))
    )
    assert max(scores) - min(scores) > 0.01, "the penalty has to matter for this to say something"
    assert found > max(scores) - 0.01


def test_a_dimension_that_never_changes_does_no_harm() -> None:
    features, labels = clusters(200, 0)
    features[:, 3] = 7
    fitted = LogisticRegression.Config().build().fit(features, labels, 5)
    assert fitted.weight.isfinite().all()
    assert accuracy(fitted.scores(features), labels) > 0.6


@pytest.mark.parametrize("change", [{"strengths": ()}, {"strengths": (-1.0,)}, {"iterations": 0}])
def test_a_config_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="strengths"):
        LogisticRegression.Config(**change)  # type: ignore[arg-type]
