"""A predicted step against one that is taken: the allocator's own record of every allocation is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.profiler import profile

from pipeline.models.batchnorm import convert
from pipeline.objectives import Progress
from pipeline.plan.assembled import assembled
from pipeline.plan.peak import blank_views, peak
from pipeline.plan.state import fill_optimizer, state
from pipeline.training.recompute import recompute
from pipeline.training.sharding import shard
from tests.distributed import on_processes
from tests.pipeline.plan.trainings import training

TOLERANCE = 0.01
"""Share by which the prediction may differ from what the allocator gave out."""

CROPS = ((2, 96), (4, 64))


def allocated(rank: int, world: int, blocks: tuple[int, ...]) -> int:
    """Most bytes that a step had beside those there before it, by the allocator's record of real tensors."""
    plan = training(world, crops=CROPS, recompute=blocks, precision="fp32")
    objective = plan.build()
    convert(objective)
    recompute(objective.backbone, blocks)
    if world > 1:
        shard(objective, init_device_mesh("cpu", (world,)))
    optimizer = plan.optimizer.build(objective, batch=plan.trainer.batch)
    fill_optimizer(objective, optimizer)
    optimizer.zero_grad()
    views, progress = blank_views(plan), Progress(steps=2)
    with profile(profile_memory=True) as record:
        objective(views, progress).loss.backward()
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
    now = most = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def predicted(world: int, blocks: tuple[int, ...]) -> int:
    plan = training(world, crops=CROPS, recompute=blocks, precision="fp32")
    with assembled(plan) as (objective, optimizer):
        held = state(objective, optimizer)
        optimizer.zero_grad()
        before = held.total - held.gradients + sum(crops.nbytes for crops in blank_views(plan).crops)
        return peak(objective, optimizer, plan).total - before


@pytest.mark.parametrize(("world", "blocks"), [(1, ()), (1, (0, 1, 2)), (2, ())], ids=["one", "recomputed", "two"])
def test_the_peak_of_a_step_is_that_of_the_allocator(world: int, blocks: tuple[int, ...]) -> None:
    found = predicted(world, blocks)
    assert found == pytest.approx(
        allocated(0, 1, blocks) if world == 1 else on_processes(allocated, world, blocks)[0], rel=TOLERANCE
    )


def test_recomputation_lowers_what_is_kept() -> None:
    kept = []
    for blocks in ((), (0, 1, 2)):
        plan = training(2, crops=CROPS, recompute=blocks)
        with assembled(plan) as (objective, optimizer):
            kept.append(peak(objective, optimizer, plan).kept)
    assert kept[1] < 0.6 * kept[0]


def test_planning_leaves_the_process_as_it_was() -> None:
    with assembled(training(8)) as (objective, optimizer):
        peak(objective, optimizer, training(8))
    assert not torch.distributed.is_initialized()
    objective = training().build()
    assert torch.isfinite(objective(blank_views(training()), Progress()).loss)
