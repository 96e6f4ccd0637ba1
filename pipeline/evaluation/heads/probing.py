"""Probing: a grid of linear heads on a frozen backbone, for training on random crops as ImageNet's linear numbers are.

It stands behind the seam of the objectives, so that training, sharding and checkpoints are the same code. The backbone
is in evaluation mode, BatchNorm too, and runs once a step for all taps and heads, without a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from data_shards.loader import Loader
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.features import Counter
from pipeline.evaluation.heads.grid import Grid, Said, together
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
        losses, right, _ = self.grid(self.vectors(crops), labels, count=progress.recorded)
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

    @torch.no_grad()
    def scores(self, crops: Tensor, labels: Tensor, head: int | None) -> Said:
        """What the heads say of uint8 crops (views, batch, 3, S, S) with labels (N), in evaluation mode."""
        said: Said = self.grid(self.vectors(crops), labels, head)
        return said

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


def ask(trained: Probing, loader: Loader, progress: Counter, head: int | None = None) -> Answers:
    """Show every sample of all processes' loaders to all heads, and look closer at one of them.

    `trained` is in evaluation mode. A collective, also in each batch.
    """
    device = next(trained.parameters()).device
    heads, classes = len(trained.grid.heads), trained.grid.classes
    right, samples = torch.zeros(heads, dtype=torch.int64, device=device), 0
    confusion, in_top5 = torch.zeros(classes, classes, dtype=torch.int64), 0
    for batch in loader:
        views = Views.of(batch)
        # What could not be decoded does not count, nor does the row of a process that has no samples left: the others
        # wait for it in every layer.
        labels = views.labels.where(torch.from_numpy(batch.own), -1) if len(batch.indices) else torch.full((1,), -1)
        crops = views.crops[0][:1]
        crops = crops if len(batch.indices) else crops.new_zeros(1, 1, *crops.shape[2:])
        said = trained.scores(crops.to(device, non_blocking=True), labels.to(device), head)
        right += said.right
        samples += int((labels >= 0).sum())
        if said.scores is not None:
            found = Accuracy.of(said.scores.cpu(), labels)
            confusion += found.confusion
            in_top5 += found.in_top5
        progress.update(loader.world * len(batch.indices))
    counts = torch.cat([right.cpu(), confusion.flatten(), torch.tensor([samples, in_top5])])
    counts = sum_(counts.to(device)).cpu()
    accuracy = None if head is None else Accuracy(counts[heads:-2].view(classes, classes), int(counts[-1]))
    return Answers(counts[:heads], int(counts[-2]), accuracy)
