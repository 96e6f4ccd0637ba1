"""A predicted step against one that is taken: the allocator's own record of every allocation is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.profiler import profile

from pipeline.objectives import Progress
from pipeline.plan.assembled import Training, assembled
from pipeline.plan.peak import black_views, peak
from pipeline.plan.state import state
from pipeline.training.assembly import materialise, prepare
from pipeline.training.precision import autocast
from tests.distributed import on_processes
from tests.pipeline.plan.trainings import training

TOLERANCE = 0.02
"""Share by which the prediction may differ: it does not see copies that a kernel makes within itself."""

CASES: dict[str, dict[str, Any]] = {
    "one process": {},
    "bf16": {"precision": "bf16"},
    "recomputed": {"recompute": ((1,), (1, 2))},
    "in pieces": {"pieces": 4},
    "fsdp": {"world": 2},
    "fsdp, bf16": {"world": 2, "precision": "bf16"},
    "fsdp, recomputed": {"world": 2, "recompute": ((1,), (1,))},
    "ddp": {"world": 2, "sharding": "ddp"},
}


def asked(world: int = 1, **trainer: Any) -> Training:
    return training(world, **{"crops": ((2, 96), (4, 64)), "precision": "fp32", **trainer})


def allocated(rank: int, world: int, case: dict[str, Any]) -> int:
    """Most bytes that a step had beside those there before it, by the allocator's record of real tensors."""
    plan = asked(**case)
    objective = plan.meta()
    prepare(objective, plan.trainer, "cpu")
    materialise(objective, torch.device("cpu"), seed=0)
    optimizer = plan.optimizer.build(objective, batch=plan.trainer.batch)
    if plan.trainer.layout == "ddp":
        for parameter in objective.parameters():
            parameter.grad = torch.zeros_like(parameter)
    views, progress = black_views(plan), Progress(steps=2)
    with profile(profile_memory=True) as record:
        with autocast(plan.trainer, torch.device("cpu")):
            loss = objective(views, progress).loss
        loss.backward()
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
    now = most = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def predicted(case: dict[str, Any]) -> int:
    plan = asked(**case)
    with assembled(plan) as (objective, optimizer):
        held = state(objective, optimizer)
        before = held.total - (0 if plan.trainer.layout == "ddp" else held.gradients)
        before += sum(crops.nbytes for crops in black_views(plan).crops)
        return peak(objective, optimizer, plan).total - before


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_peak_of_a_step_is_that_of_the_allocator(case: dict[str, Any]) -> None:
    world = case.get("world", 1)
    found = allocated(0, 1, case) if world == 1 else on_processes(allocated, world, case)[0]
    assert predicted(case) == pytest.approx(found, rel=TOLERANCE)


def test_recomputation_lowers_what_is_kept() -> None:
    kept = []
    for blocks in ("none", ((1,), (1, 2))):
        plan = asked(recompute=blocks)
        with assembled(plan) as (objective, optimizer):
            kept.append(peak(objective, optimizer, plan).kept)
    assert kept[1] < 0.6 * kept[0]


def test_planning_leaves_the_process_as_it_was() -> None:
    with assembled(training(8)) as (objective, optimizer):
        peak(objective, optimizer, training(8))
    assert not torch.distributed.is_initialized()
    objective = training().build()
    assert torch.isfinite(objective(black_views(training()), Progress()).loss)
