"""Probing: a grid of linear heads on a frozen backbone, for training on random crops as ImageNet's linear numbers are.

It stands behind the seam of the objectives, so that training, sharding and checkpoints are the same code. The backbone
is in evaluation mode, BatchNorm too, and runs once a step for all taps and heads, without a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from data_shards.batch import Batch
from pipeline.evaluation.accuracy import Accuracy
from pipeline.evaluation.features import Counter, tapped
from pipeline.evaluation.grid import Grid, together
from pipeline.models.backbone import Backbone
from pipeline.models.taps import Tap, gather
from pipeline.objectives.collectives import sum_, world_size
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
        if not progress.recorded:
            return Outcome(together(losses), {})
        # Of the whole batch: the least loss of each process would be that of another head.
        shown, accuracies = (
            sum_(torch.stack([losses.detach(), right / (labels >= 0).sum().clamp_min(1)])) / world_size()
        )
        return Outcome(together(losses, shown), {"accuracy": accuracies.max()})

    @torch.no_grad()
    def vectors(self, crops: Tensor) -> Mapping[str, Tensor]:
        """Features (N, width) by tap of uint8 crops (views, batch, 3, S, S); N = views * batch."""
        return gather(self.backbone, self.backbone.prepare(crops), self.taps)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """One minus the cosine of two features: there is nothing else that a frozen backbone has learnt of pairs."""
        return 1 - F.cosine_similarity(x, y)


class Answers(NamedTuple):
    """What the heads say to the samples of a split."""

    right: Tensor
    """How many labelled samples each head takes for what they are (heads), int64."""
    samples: int
    """Labelled samples."""
    accuracy: Accuracy | None
    """Of the one head that was asked more of."""


@torch.no_grad()
def ask(trained: Probing, batches: Iterable[Batch], progress: Counter, head: int | None = None) -> Answers:
    """Show the first crop of every sample to all heads, and look closer at one of them."""
    device = next(trained.parameters()).device
    right, samples = torch.zeros(len(trained.grid.heads), dtype=torch.int64), 0
    scores, answers = [], []
    trained.eval()
    for batch in tapped(trained.backbone, batches, trained.taps):
        vectors = {tap: values.to(device) for tap, values in batch.vectors.items()}
        right += trained.grid(vectors, batch.labels.to(device))[1].cpu()
        samples += int((batch.labels >= 0).sum())
        if head is not None:
            scores.append(trained.grid.scores(vectors, head).cpu())
            answers.append(batch.labels)
        progress.update(batch.seen)
    return Answers(right, samples, Accuracy.of(torch.cat(scores), torch.cat(answers)) if scores else None)
