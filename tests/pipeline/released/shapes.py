"""Shapes of a network's tensors, under our names, without memory."""

from __future__ import annotations

import torch

from pipeline.models.regnet import RegNet
from pipeline.released.layouts import BACKBONE, Layout


def shapes_of(model: RegNet.Config, classes: int | None = None) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        backbone = model.build()
    shapes = {BACKBONE + name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    if classes:
        shapes |= {"classifier.weight": (classes, backbone.width), "classifier.bias": (classes,)}
    return shapes


def theirs(layout: Layout, model: RegNet.Config, classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """The same under the names of a layout."""
    return {layout.from_ours(name, model): shape for name, shape in shapes_of(model, classes).items()}
