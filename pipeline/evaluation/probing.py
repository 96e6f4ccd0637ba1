"""Probing: a grid of linear heads on a frozen backbone, for training on random crops as ImageNet's linear numbers are.

It stands behind the seam of the objectives, so that training, sharding and checkpoints are the same code. The backbone
is in evaluation mode, BatchNorm too, and runs once a step for all taps and heads, without a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.grid import Grid, together
from pipeline.models.backbone import Backbone
from pipeline.models.taps import Tap, gather
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.views.views import Views


class Probing(Objective):
    """Trains `grid` on the taps of `backbone`. Takes the first group of crops; every crop is one example."""

    def __init__(self, backbone: Backbone, taps: Sequence[Tap], grid: Grid) -> None:
        super().__init__(backbone.requires_grad_(False))
        self.taps, self.grid = tuple(taps), grid

    def train(self, mode: bool = True) -> Probing:
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, views: Views, progress: Progress) -> Outcome:
        crops = views.crops[0]
        labels = views.labels.repeat(len(crops))
        losses, right = self.grid(self.vectors(crops), labels)
        accuracy = right.max() / (labels >= 0).sum().clamp_min(1)
        return Outcome(together(losses), {"accuracy": accuracy})

    @torch.no_grad()
    def vectors(self, crops: Tensor) -> Mapping[str, Tensor]:
        """Features (N, width) by tap of uint8 crops (views, batch, 3, S, S); N = views * batch."""
        return gather(self.backbone, self.backbone.prepare(crops), self.taps)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """One minus the cosine of two features: there is nothing else that a frozen backbone has learnt of pairs."""
        return 1 - F.cosine_similarity(x, y)
