"""How much arithmetic a training takes: multiply-adds of convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.models.complexity import count
from pipeline.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Work:
    """Multiply-adds of one image with all its crops."""

    backbone: int
    heads: int
    recomputed: int = 0
    """Of the forward pass, computed a second time in the backward pass."""

    @property
    def forward(self) -> int:
        """Of one forward pass."""
        return self.backbone + self.heads

    def flops(self, images: int) -> float:
        """Floating-point operations of training on so many images: two a multiply-add; backward is two forward."""
        return 2.0 * (3 * self.forward + self.recomputed) * images


def work(objective: Objective, crops: Sequence[tuple[int, int]]) -> Work:
    """The multiply-adds of a whole objective on the meta device. Each weight of a head is used once a crop."""
    views = sum(number for number, _ in crops)
    backbone = {id(parameter) for parameter in objective.backbone.parameters()}
    heads = sum(p.numel() for p in objective.parameters() if id(p) not in backbone)
    return Work(
        backbone=sum(number * count(objective.backbone, side).macs for number, side in crops),
        heads=views * heads,
    )
