"""State per process: measured bytes on gloo processes, whole rows on a pretended job, equal shares where rows allow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from pipeline.models import RegNet
from pipeline.objectives import Progress, SwAV
from pipeline.plan.assembled import Training, assembled
from pipeline.plan.peak import black_views
from pipeline.plan.state import State, remembered, state
from pipeline.training.assembly import materialise, prepare
from pipeline.training.optimizers import SGD
from pipeline.training.precision import autocast
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainerConfig
from tests.distributed import on_processes
from tests.pipeline.plan.trainings import training


def measured(rank: int, world: int) -> State:
    """Bytes of the storages that this process has after a step."""
    plan = training(world)
    objective = plan.meta()
    prepare(objective, plan.trainer, "cpu")
    materialise(objective, torch.device("cpu"), seed=0)
    optimizer = plan.optimizer.build(objective, batch=plan.trainer.batch)
    with autocast(plan.trainer, torch.device("cpu")):
        loss = objective(black_views(plan), Progress(steps=2)).loss
    loss.backward()
    optimizer.step()

    def held(tensors: list[Tensor]) -> int:
        local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local if t.numel()}.values())

    parameters = list(objective.parameters())
    return State(
        parameters=held(parameters),
        gradients=held([parameter.grad for parameter in parameters if parameter.grad is not None]),
        optimizer=held(list(remembered(optimizer))),
        buffers=held(list(objective.buffers())),
    )


def planned(plan: Training, rank: int = 0) -> tuple[State, State]:
    with assembled(plan, rank) as (objective, optimizer):
        return state(objective, optimizer), state(objective, optimizer, whole=True)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_the_state_of_real_processes_is_an_equal_share_and_as_planned(world: int) -> None:
    for rank, found in enumerate(on_processes(measured, world)):
        expected, whole = planned(training(world), rank)
        assert found == expected
        assert found.shared == pytest.approx(whole.shared / world, rel=0.02)
        assert found.buffers == whole.buffers


@pytest.mark.parametrize(("world", "rank"), [(8, 0), (8, 7), (16, 5), (64, 63), (512, 0)])
def test_a_process_of_a_pretended_job_holds_its_whole_rows(world: int, rank: int) -> None:
    plan = training(world, batch=512)
    found, whole = planned(plan, rank)
    rows = 0
    for parameter in plan.meta().parameters():
        most = -(-len(parameter) // world)
        rows += parameter[0].numel() * max(0, min(most, len(parameter) - rank * most))
    assert found.parameters == found.gradients == found.optimizer == 4 * rows
    assert whole.parameters == 4 * sum(parameter.numel() for parameter in plan.meta().parameters())


def test_nodes_hold_copies_and_share_within() -> None:
    found, whole = planned(training(4, nodes=2, batch=64, sharding="hsdp"))
    assert found.shared == pytest.approx(whole.shared / 4, rel=0.02)
    found, whole = planned(training(4, sharding="ddp"))
    assert found == whole


def test_the_processes_of_a_job_hold_everything_once() -> None:
    each = [planned(training(8), rank) for rank in range(8)]
    assert sum(found.shared for found, _ in each) == each[0][1].shared


@pytest.mark.parametrize("world", [8, 64, 512])
def test_the_state_of_seers_largest_model_is_an_equal_share(world: int) -> None:
    objective = SwAV.Config(prototypes=16000, hidden=(8192, 8192), dim=256, batch_norm=False)
    found, whole = planned(
        Training(
            build=lambda: objective.build(RegNet.Config(size="seer_10b").build()),
            crops=((2, 160),),
            optimizer=SGD.Config(),
            schedule=WarmupCosine(),
            trainer=TrainerConfig(batch=8192, nodes=world // 8, devices=8),
        )
    )
    assert found.shared == pytest.approx(whole.shared / world, rel=0.02)
    assert whole.parameters == pytest.approx(4 * 9628.9e6, abs=4 * 0.05e6)
