"""Classification: cross-entropy on labels, for fine-tuning and for training from scratch.

It stands behind the same seam as self-supervision, so training, sharding and checkpoints are the same code. Samples
without a label (-1) do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.backbone import Backbone
from pipeline.models.heads import Classifier
from pipeline.models.precision import wide
from pipeline.objectives.collapse import spread
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.views.views import Views


class Classification(Objective):
    """A linear classifier on the backbone. Takes the first group of crops; every crop is one example."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["classification"] = "classification"
        label_smoothing: float = 0.0
        """Share of the target that is spread over all classes, 0 to 1."""
        freeze_backbone: bool = False
        """Whether only the classifier learns; BatchNorm then uses the statistics of pretraining."""

        def __post_init__(self) -> None:
            if not 0 <= self.label_smoothing < 1:
                raise ValueError("label_smoothing must be at least 0 and below 1")

        def check(self, batch: int) -> list[str]:
            """Nothing is doubtful at any global batch."""
            return []

        def build(self, backbone: Backbone, classes: int) -> Classification:
            return Classification(self, backbone, classes)

    def __init__(self, config: Config, backbone: Backbone, classes: int) -> None:
        super().__init__(backbone)
        self.config = config
        self.classifier = Classifier(backbone.width, classes)
        if config.freeze_backbone:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Classification:
        super().train(mode)
        self.backbone.train(mode and not self.config.freeze_backbone)
        return self

    def forward(self, views: Views, progress: Progress) -> Outcome:
        crops = views.crops[0]
        features = self.backbone(self.backbone.prepare(crops))
        scores = wide(self.classifier(features))
        labels = views.labels.repeat(len(crops))
        known = labels >= 0
        smoothing = self.config.label_smoothing
        losses = F.cross_entropy(scores, labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
        examples = known.sum().clamp_min(1)
        with torch.no_grad():
            accuracy = ((scores.argmax(1) == labels) & known).sum() / examples
        return Outcome(losses / examples, {"accuracy": accuracy, "feature_std": spread(features)})

    def scores(self, crops: Tensor) -> Tensor:
        """Class scores (N, classes), fp32, of uint8 crops (views, batch, 3, S, S); N = views * batch."""
        scores: Tensor = self.classifier(self.backbone(self.backbone.prepare(crops)))
        return wide(scores)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy between the predictions for two views."""
        energies: Tensor = -(wide(self.classifier(x)).softmax(1) * wide(self.classifier(y)).log_softmax(1)).sum(1)
        return energies
