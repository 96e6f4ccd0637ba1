"""Small trainings to plan, and the same trainings run."""

from __future__ import annotations

from typing import Any

from pipeline.models import RegNet
from pipeline.objectives import SwAV
from pipeline.plan.assembled import Training
from pipeline.training.optimizers import SGD
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainerConfig


def training(world: int = 1, *, crops: tuple[tuple[int, int], ...] = ((2, 32), (2, 16)), **trainer: Any) -> Training:
    """SwAV on a RegNet of 0.2 M parameters whose rows 2 and 4 processes share evenly."""
    model = RegNet.Config(size="custom", widths=(32, 128), depths=(1, 2), strides=(2, 2), stem_width=16, squeeze=0.5)
    objective = SwAV.Config(prototypes=128, hidden=(128,), dim=64)
    return Training(
        build=lambda: objective.build(model.build()),
        crops=crops,
        optimizer=SGD.Config(rate=0.6),
        schedule=WarmupCosine(warmup="10 steps"),
        trainer=TrainerConfig(**{"duration": "100 steps", "batch": 16, "devices": world, **trainer}),
    )
