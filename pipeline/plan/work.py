"""How much arithmetic a training takes: multiply-adds of convolutions and linear layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pipeline.models.backbone import Backbone
from pipeline.models.complexity import per_layer
from pipeline.objectives.objective import Objective
from pipeline.plan.assembled import Training
from pipeline.training.placement import auto_groups
from pipeline.training.settings import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class Work:
    """Multiply-adds of one image with all its crops."""

    backbone: int
    heads: int
    recomputed: int = 0
    """Of the forward pass, done a second time in the backward pass."""

    @property
    def forward(self) -> int:
        """Of one forward pass."""
        return self.backbone + self.heads

    def flops(self, images: int) -> float:
        """Floating-point operations of training on so many images: two a multiply-add; backward is two forward."""
        return 2.0 * (3 * self.forward + self.recomputed) * images


def work(objective: Objective, training: Training) -> Work:
    """The multiply-adds of a whole objective on the meta device. Each weight of a head is used once a crop."""
    body = set(objective.backbone.parameters())
    heads = sum(parameter.numel() for parameter in objective.parameters() if parameter not in body)
    again = recomputed_layers(objective.backbone, training.trainer)
    backbone = recomputed = 0
    for views, side in training.crops:
        layers = per_layer(objective.backbone, side)
        backbone += views * sum(macs for macs, _ in layers.values())
        recomputed += views * sum(macs for layer, (macs, _) in layers.items() if layer in again)
    return Work(backbone=backbone, heads=heads * sum(views for views, _ in training.crops), recomputed=recomputed)


def recomputed_layers(backbone: Backbone, trainer: TrainerConfig) -> set[nn.Module]:
    """The layers whose forward pass is done again in the backward pass."""
    if trainer.pieces > 1:  # each piece is recomputed as a whole
        return set(backbone.modules())
    ends = auto_groups(backbone) if trainer.recompute == "auto" else trainer.recompute
    if ends == "none":
        return set()
    blocks = [
        block
        for stage, numbers in zip(backbone.stages(), ends, strict=False)
        for block in list(stage.children())[: max(numbers, default=0)]
    ]
    return {layer for block in blocks for layer in block.modules()}
