"""Small networks and views that several tests use."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from pipeline.models import RegNet
from pipeline.objectives import Objective
from pipeline.views.views import Views

Trained = TypeVar("Trained", bound=Objective)


def small_backbone(**changes: object) -> RegNet:
    """A RegNetY of two stages that runs in milliseconds."""
    settings = {
        "size": "custom",
        "widths": (8, 16),
        "depths": (1, 2),
        "group_width": 4,
        "strides": (2, 2),
        "stem_width": 8,
    }
    return RegNet.Config(**{**settings, **changes}).build()  # type: ignore[arg-type]


def in_fp64(objective: Trained) -> Trained:
    """The objective in fp64 from the pixels on, so that equality is not a matter of rounding."""
    prepare = objective.backbone.prepare
    objective.backbone.prepare = lambda crops: prepare(crops).double()  # type: ignore[method-assign]
    return objective.double()


def random_views(batch: int, sizes: tuple[tuple[int, int], ...] = ((2, 16), (2, 8)), seed: int = 0) -> Views:
    """Views of noise: for each (count, size) a group of crops."""
    draw = torch.Generator().manual_seed(seed)

    def crops(count: int, size: int) -> Tensor:
        pixels = torch.randint(0, 256, (count, batch, size, size, 3), dtype=torch.uint8, generator=draw)
        return pixels.permute(0, 1, 4, 2, 3)

    indices = torch.arange(batch)
    return Views(tuple(crops(count, size) for count, size in sizes), indices, indices % 3)


def share_of(views: Views, rank: int, world: int) -> Views:
    """The samples of `views` that one of several processes has."""
    mine = slice(rank * len(views.indices) // world, (rank + 1) * len(views.indices) // world)
    return Views(tuple(crops[:, mine] for crops in views.crops), views.indices[mine], views.labels[mine])
