"""Barlow Twins against equation 1 and an invariance of the paper."""

from __future__ import annotations

import pytest
import torch

from pipeline.objectives import BarlowTwins, Progress
from pipeline.objectives.barlow_twins import decorrelation
from tests.pipeline.networks import random_views, small_backbone


def test_the_loss_equals_equation_1_summed_term_by_term() -> None:
    draw = torch.Generator().manual_seed(0)
    correlation = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    expected = sum((1 - correlation[i, i]) ** 2 for i in range(5))
    expected += 0.01 * sum(correlation[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    torch.testing.assert_close(decorrelation(correlation, 0.01), torch.as_tensor(expected))
    assert decorrelation(torch.eye(4), 0.01) == 0


def test_the_step_equals_standardising_and_correlating_by_hand() -> None:
    torch.manual_seed(0)
    objective = BarlowTwins.Config(hidden=(16,), dim=8).build(small_backbone())
    views = random_views(12)
    loss = objective(views, Progress()).loss
    backbone, crops = objective.backbone, views.crops[0]
    with torch.no_grad():
        x, y = objective.head(backbone(backbone.prepare(crops))).double().split(12)
        x, y = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (x, y))
        expected = decorrelation(x.T @ y / 12, 5e-3)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_scale_and_shift_of_an_embedding_do_not_matter() -> None:
    torch.manual_seed(0)
    objective = BarlowTwins.Config(hidden=(16,), dim=8).build(small_backbone())
    views = random_views(12)
    before = objective(views, Progress()).loss
    last = objective.head[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(7)
        last.bias.mul_(7).add_(torch.arange(8))
    torch.testing.assert_close(objective(views, Progress()).loss, before, rtol=1e-3, atol=1e-4)


def test_one_crop_an_image_is_refused() -> None:
    objective = BarlowTwins.Config(hidden=(16,), dim=8).build(small_backbone())
    with pytest.raises(ValueError, match="two crops of one size"):
        objective(random_views(4, ((1, 16),)), Progress())
