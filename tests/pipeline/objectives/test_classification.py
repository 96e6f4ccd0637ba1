"""Classification: labels, frozen backbones, scores."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.objectives import Classification, Progress
from pipeline.views.views import Views
from tests.pipeline.networks import random_views, small_backbone


def classification(**changes: object) -> Classification:
    torch.manual_seed(0)
    return Classification.Config(**changes).build(small_backbone(), 3)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_cross_entropy_of_every_crop() -> None:
    objective, views = classification(label_smoothing=0.1), random_views(6)
    outcome = objective(views, Progress())
    scores = objective.scores(views.crops[0])
    expected = F.cross_entropy(scores, views.labels.repeat(2), label_smoothing=0.1)
    torch.testing.assert_close(outcome.loss, expected, rtol=1e-4, atol=1e-5)
    assert outcome.metrics["accuracy"] == pytest.approx(
        (scores.argmax(1) == views.labels.repeat(2)).float().mean().item()
    )


def test_samples_without_a_label_do_not_count() -> None:
    objective, views = classification().eval(), random_views(6)
    labels = views.labels.clone()
    labels[3:] = -1
    some = objective(Views(views.crops, views.indices, labels), Progress())
    known = objective(Views(tuple(c[:, :3] for c in views.crops), views.indices[:3], labels[:3]), Progress())
    torch.testing.assert_close(some.loss, known.loss)
    torch.testing.assert_close(some.metrics["accuracy"], known.metrics["accuracy"])
    nothing = objective(Views(views.crops, views.indices, torch.full_like(labels, -1)), Progress())
    assert nothing.loss == 0


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    objective = classification(freeze_backbone=True).train()
    before = {key: value.clone() for key, value in objective.backbone.state_dict().items()}
    objective(random_views(6), Progress()).loss.backward()
    assert all(parameter.grad is None for parameter in objective.backbone.parameters())
    assert objective.classifier.weight.grad is not None
    for key, value in objective.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
