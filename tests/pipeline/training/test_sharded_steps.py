"""Whole steps on several processes against one: SwAV, BatchNorm, LARC, frozen prototypes, recomputation together.

Every way to share out an objective is taken through the start that `fit` gives it. In fp64, because training amplifies
rounding: within these ten steps a change of 1e-7 in the weights grows to 1e-4 in the loss, more than a defect might.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from pipeline.objectives import Progress, SwAV
from pipeline.training.assembly import materialise, prepare
from pipeline.training.larc import LARC
from pipeline.training.optimizers import SGD
from pipeline.training.precision import autocast
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import replicate
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, share_of, small_backbone

STEPS, BATCH = 10, 16
CPU = torch.device("cpu")


class Trained(NamedTuple):
    """Losses of this process, and each parameter after the last step and its last gradient, whole."""

    losses: list[float]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def train(rank: int, world: int, trainer: TrainerConfig, steps: int = STEPS) -> Trained:
    with torch.device("meta"):
        config = SwAV.Config(prototypes=13, hidden=(16,), dim=8, freeze_prototypes=3)
        objective = config.build(small_backbone())
    prepare(objective, trainer, "cpu")
    materialise(objective, CPU, seed=0)
    called: Any = replicate(objective, trainer) if trainer.layout == "ddp" else objective
    rules = SGD.Config(rate=4.0, weight_decay=1e-4, decay="matrices", larc=LARC.Config(trust=0.02))
    optimizer = rules.build(objective, batch=BATCH)
    losses = []
    for step in range(steps):
        progress = Progress(step=step, steps=steps)
        optimizer.zero_grad()
        with autocast(trainer, CPU):
            loss = called(share_of(random_views(BATCH, seed=step % 2), rank, world), progress).loss
        optimizer.scale(loss).backward()
        objective.adjust_gradients(progress)
        gradients = {name: whole(p.grad) for name, p in objective.named_parameters() if p.grad is not None}
        optimizer.step()
        objective.finish_step(progress)
        losses.append(loss.item())
    return Trained(losses, {name: whole(p) for name, p in objective.named_parameters()}, gradients)


@functools.cache
def alone(**changes: Any) -> Trained:
    return train(0, 1, TrainerConfig(batch=BATCH, **{"precision": "fp64", **changes}))


def compare(trainer: TrainerConfig, expected: Trained, steps: int = STEPS, **tolerance: float) -> None:
    parts = on_processes(train, trainer.processes, trainer, steps)
    means = [sum(step) / len(parts) for step in zip(*(part.losses for part in parts), strict=True)]
    torch.testing.assert_close(torch.tensor(means), torch.tensor(expected.losses), **tolerance)
    for part in parts:
        for wanted, found in ((expected.weights, part.weights), (expected.gradients, part.gradients)):
            assert list(found) == list(wanted)
            for name in wanted:
                torch.testing.assert_close(
                    found[name], wanted[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}"
                )


def test_the_steps_learn() -> None:
    losses = alone().losses
    assert losses[-1] < losses[0]


GROUPS = ((1,), (2,))
WAYS: dict[str, dict[str, Any]] = {
    "fsdp on two": {"devices": 2},
    "fsdp on four": {"devices": 4},
    "hsdp": {"devices": 2, "nodes": 2, "sharding": "hsdp"},
    "ddp": {"devices": 2, "sharding": "ddp"},
    "fsdp, groups recomputed": {"devices": 2, "recompute": GROUPS},
    "fsdp, blocks recomputed": {"devices": 2, "recompute": ((1,), (1, 2))},
    "hsdp, recomputed": {"devices": 2, "nodes": 2, "sharding": "hsdp", "recompute": "auto"},
    "ddp, recomputed": {"devices": 2, "sharding": "ddp", "recompute": GROUPS},
}


@pytest.mark.parametrize("way", WAYS)
def test_ten_steps_of_swav_with_larc_equal_those_of_one_process_in_loss_gradient_and_weights(way: str) -> None:
    trainer = TrainerConfig(batch=BATCH, precision="fp64", **WAYS[way])
    compare(trainer, alone(), rtol=0, atol=1e-8)
