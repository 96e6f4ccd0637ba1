"""Multiply-adds against published numbers and a layer-by-layer sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.models import RegNet
from pipeline.models.complexity import per_layer
from pipeline.objectives import Progress, SwAV
from pipeline.plan.peak import black_views
from pipeline.plan.work import Work, work
from tests.pipeline.plan.trainings import training


def test_the_crops_of_seers_largest_model_take_what_was_derived_for_them() -> None:
    """951.3 G multiply-adds at 160 pixels (notes on VISSL's network), and by area 342 G at 96."""
    with torch.device("meta"):
        objective = SwAV.Config(hidden=(8192, 8192), dim=256).build(RegNet.Config(size="seer_10b").build())
    large = work(objective, training(crops=((1, 160),))).backbone
    assert large == pytest.approx(951.3e9, rel=1e-3)
    both = work(objective, training(crops=((2, 160), (4, 96)))).backbone
    assert both == pytest.approx(2 * large + 4 * 342.5e9, rel=2e-3)


def test_multiply_adds_are_those_of_the_layers_that_run() -> None:
    """Counted in a real forward pass of the objective, on the shapes of its weights and outputs."""
    plan = training(batch=2, crops=((2, 32), (3, 16)))
    objective, macs = plan.build(), 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        weight = layer.get_parameter("weight")
        macs += output.numel() * (weight[0].numel() + (getattr(layer, "bias", None) is not None))

    for layer in objective.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) or layer is objective.prototypes:
            layer.register_forward_hook(add)
    objective(black_views(plan), Progress())
    found = work(plan.meta(), plan)
    batch_norm = 2 * 128 * 5  # weights and biases of the head's BatchNorm count as if they multiplied
    assert 2 * (found.forward - batch_norm) == macs


@pytest.mark.parametrize(
    ("trainer", "blocks"),
    [
        ({}, []),
        ({"recompute": ((1,), ())}, ["s1.b1"]),
        ({"recompute": ((), (2,))}, ["s2.b1", "s2.b2"]),
        ({"pieces": 2}, ["stem", "s1", "s2"]),
    ],
    ids=["none", "one block", "a stage", "pieces"],
)
def test_recomputed_blocks_count_twice(trainer: dict[str, Any], blocks: list[str]) -> None:
    plan = training(**trainer)
    objective, again = plan.meta(), 0
    for views, side in plan.crops:
        layers = per_layer(objective.backbone, side)
        for block in blocks:
            again += views * sum(layers[m][0] for m in objective.backbone.get_submodule(block).modules() if m in layers)
    assert work(objective, plan).recomputed == again


def test_training_takes_three_forward_passes_and_what_is_recomputed() -> None:
    assert Work(backbone=80, heads=20, recomputed=50).flops(10) == 2 * (3 * 100 + 50) * 10
