"""Classification: cross-entropy on labels, for fine-tuning and for training from scratch.

It stands behind the same seam as self-supervision, so training, sharding and checkpoints are the same code. Samples
without a label (-1) do not count. Smoothed labels and mixed pictures (mixing.py) are soft targets of the same loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.backbone import Backbone
from pipeline.models.heads import Classifier
from pipeline.models.precision import wide
from pipeline.objectives.collapse import spread
from pipeline.objectives.mixing import Mixing, soft_targets
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.views.views import Views


class Classification(Objective):
    """A linear classifier on the backbone. Takes the first group of crops; every crop is one example."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["classification"] = "classification"
        label_smoothing: float = 0.0
        """Share of the target that is spread over all classes, 0 to 1."""
        mixing: Mixing.Config = field(default_factory=Mixing.Config)
        """Mixup and CutMix."""
        freeze_backbone: bool = False
        """Whether only the classifier learns; BatchNorm then uses the statistics of pretraining."""

        def __post_init__(self) -> None:
            if not 0 <= self.label_smoothing < 1:
                raise ValueError("label_smoothing must be at least 0 and below 1")

        def check(self, batch: int) -> list[str]:
            """Nothing is doubtful at any global batch."""
            return []

        def build(self, backbone: Backbone, classes: int, *, seed: int = 0, dealt: bool = False) -> Classification:
            """`seed` is that of mixing, and `dealt` how samples come to processes (mixing.py)."""
            return Classification(self, backbone, classes, seed, dealt)

    def __init__(self, config: Config, backbone: Backbone, classes: int, seed: int = 0, dealt: bool = False) -> None:
        super().__init__(backbone)
        self.config = config
        self.mixing = config.mixing.build(seed, dealt=dealt)
        self.classifier = Classifier(backbone.width, classes)
        if config.freeze_backbone:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Classification:
        super().train(mode)
        self.backbone.train(mode and not self.config.freeze_backbone)
        return self

    def forward(self, views: Views, progress: Progress) -> Outcome:
        crops = views.crops[0]
        images = self.backbone.prepare(crops)
        labels = views.labels.repeat(len(crops))
        known = labels >= 0
        mixed = None
        if self.training and self.config.mixing.is_on:
            mixed = self.mixing(images, views.indices, progress.step, known)
            images = mixed.images
        features = self.backbone(images)
        scores = wide(self.classifier(features))
        with torch.no_grad():
            targets = soft_targets(labels, mixed, scores.shape[1], self.config.label_smoothing)
            examples = known.sum().clamp_min(1)
            accuracy = ((scores.argmax(1) == targets.argmax(1)) & known).sum() / examples
        loss = F.cross_entropy(scores, targets.to(scores.dtype), reduction="sum") / examples
        return Outcome(loss, {"accuracy": accuracy, "feature_std": spread(features)})

    def scores(self, crops: Tensor) -> Tensor:
        """Class scores (N, classes), fp32, of uint8 crops (views, batch, 3, S, S); N = views * batch."""
        scores: Tensor = self.classifier(self.backbone(self.backbone.prepare(crops)))
        return wide(scores)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy between the predictions for two views."""
        energies: Tensor = -(wide(self.classifier(x)).softmax(1) * wide(self.classifier(y)).log_softmax(1)).sum(1)
        return energies
