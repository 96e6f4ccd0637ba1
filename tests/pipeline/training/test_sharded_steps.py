"""Whole steps on FSDP2 shards against one process: SwAV, BatchNorm, LARC, frozen prototypes, recomputation together.

In fp64, because training amplifies rounding: within these ten steps a change of 1e-7 in the weights grows to 1e-4 in
the loss, more than a defect might.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.models.batchnorm import convert
from pipeline.objectives import Progress, SwAV
from pipeline.training.larc import LARC
from pipeline.training.optimizers import SGD
from pipeline.training.recompute import recompute
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone

STEPS, BATCH = 10, 16


def ten_steps(rank: int, world: int, blocks: tuple[int, ...] = ()) -> tuple[list[float], Tensor]:
    """The losses of this process, and the prototypes they led to."""
    torch.manual_seed(0)
    backbone = small_backbone()
    objective = in_fp64(SwAV.Config(prototypes=13, hidden=(16,), dim=8, freeze_prototypes=3).build(backbone))
    convert(objective)
    recompute(backbone, blocks)
    if world > 1:
        mesh = init_device_mesh("cpu", (world,))
        for block in backbone.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(objective, mesh=mesh)
    config = SGD.Config(rate=4.0, weight_decay=1e-4, decay="matrices", larc=LARC.Config(trust=0.02))
    optimizer = config.build(objective, batch=BATCH)
    losses = []
    for step in range(STEPS):
        progress = Progress(step=step, steps=STEPS)
        optimizer.zero_grad()
        loss = objective(share_of(random_views(BATCH, seed=step % 2), rank, world), progress).loss
        loss.backward()
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
        losses.append(loss.item())
    weight = objective.prototypes.weight.detach()
    return losses, weight.full_tensor() if isinstance(weight, DTensor) else weight


@pytest.mark.parametrize(("world", "blocks"), [(2, ()), (4, ()), (2, (0, 1, 2))], ids=["two", "four", "recomputed"])
def test_ten_steps_of_swav_with_larc_on_shards_equal_those_of_one_process(world: int, blocks: tuple[int, ...]) -> None:
    expected, prototypes = ten_steps(0, 1)
    assert expected[-1] < expected[0]
    parts = on_processes(ten_steps, world, blocks)
    losses = [sum(step) / world for step in zip(*(part[0] for part in parts), strict=True)]
    assert losses == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(parts[0][1], prototypes, rtol=0, atol=1e-9)
