"""Barlow Twins: make the cross-correlation of two views' embeddings the identity (Zbontar et al. 2021, eq. 1).

- each dimension of the embeddings is standardised over the batch of all processes;
- C = z1^T z2 / N over that batch; the loss is sum_i (1 - C_ii)^2 + lambda * sum_{i != j} C_ij^2.

The diagonal keeps the two views alike, the rest keeps dimensions from saying the same, so nothing collapses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.backbone import Backbone
from pipeline.models.batchnorm import SyncBatchNorm
from pipeline.models.heads import ProjectionHead
from pipeline.models.precision import wide
from pipeline.objectives.collapse import energy_gap, spread
from pipeline.objectives.collectives import total, world_size
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.views.views import Views


class BarlowTwins(Objective):
    """A wide projection head on the backbone. Uses the first two crops of the first group."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["barlow_twins"] = "barlow_twins"
        redundancy: float = 5e-3
        """Weight of the off-diagonal terms (lambda)."""
        hidden: tuple[int, ...] = (8192, 8192)
        """Widths of the projection head's hidden layers."""
        dim: int = 8192
        """Length of an embedding."""

        def __post_init__(self) -> None:
            if self.dim < 2 or self.redundancy < 0:
                raise ValueError("dim must be at least 2 and redundancy at least 0")

        def check(self, batch: int) -> list[str]:
            """Nothing is doubtful. Raises ValueError for a global batch over which nothing can correlate."""
            if batch < 2:
                raise ValueError(f"Barlow Twins correlates over the batch, so it needs at least 2 samples, not {batch}")
            return []

        def build(self, backbone: Backbone) -> BarlowTwins:
            return BarlowTwins(self, backbone)

    def __init__(self, config: Config, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = ProjectionHead(backbone.width, config.hidden, config.dim)
        self.standardise = SyncBatchNorm(config.dim, affine=False)

    def forward(self, views: Views, progress: Progress) -> Outcome:
        if len(views.crops[0]) < 2:
            raise ValueError("Barlow Twins compares two crops of one size, so the first group needs a count of 2")
        batch = len(views.indices)
        features = self.backbone(self.backbone.prepare(views.crops[0][:2]))
        x, y = wide(self.head(features)).chunk(2)
        with torch.autocast(x.device.type, enabled=False):
            correlation = total(self.standardise(x).T @ self.standardise(y)) / (batch * world_size())
            loss = decorrelation(correlation, self.config.redundancy)
        with torch.no_grad():
            diagonal = correlation.diagonal().mean()
        metrics = {"correlation": diagonal, "feature_std": spread(features), "energy_gap": energy_gap(x, y)}
        return Outcome(loss, metrics)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """1 - cosine of the two embeddings: from 0 to 2."""
        return 1 - F.cosine_similarity(wide(self.head(x)), wide(self.head(y)), dim=1)


def decorrelation(correlation: Tensor, redundancy: float) -> Tensor:
    """Squared distance of a cross-correlation matrix (D, D) from the identity, off-diagonal terms weighed."""
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + redundancy * (correlation.square().sum() - diagonal.square().sum())
