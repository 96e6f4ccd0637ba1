"""Heads on a frozen backbone, whole or sharded, against the same heads on its features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.evaluation.heads.grid import Grid, together
from pipeline.evaluation.heads.probing import Probing
from pipeline.models.batchnorm import convert
from pipeline.models.initialise import initialise
from pipeline.models.taps import gather, taps
from pipeline.objectives import Progress
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone

TAPS = taps(["res2 pool 2x1", "average"])
WIDTHS = {"res2 pool 2x1": 16, "average": 16}
CONFIG = Grid.Config(rates=(0.1, 2.0), weight_decay=1e-3)


def probing() -> Probing:
    with torch.device("meta"):
        objective = Probing(small_backbone(), TAPS, CONFIG.build(WIDTHS, 3, 256))
    return objective


def test_the_backbone_stays_as_it_was_and_runs_in_evaluation_mode() -> None:
    objective = probing().to_empty(device="cpu").train()
    initialise(objective, 0)
    before = {key: value.clone() for key, value in objective.backbone.state_dict().items()}
    outcome = objective(random_views(6), Progress())
    outcome.loss.backward()
    assert not objective.backbone.training
    assert objective.grid.training
    assert all(parameter.grad is None for parameter in objective.backbone.parameters())
    assert all(parameter.grad is not None for parameter in objective.grid.parameters())
    for key, value in objective.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_its_loss_is_that_of_the_grid_on_the_taps_of_every_crop() -> None:
    objective, views = probing().to_empty(device="cpu").train(), random_views(6)
    initialise(objective, 0)
    outcome = objective(views, Progress())
    alone = CONFIG.build(WIDTHS, 3, 256)
    backbone = objective.backbone
    with torch.no_grad():
        vectors = gather(backbone, backbone.prepare(views.crops[0]), TAPS)
    losses, right, _ = alone(vectors, views.labels.repeat(2))
    torch.testing.assert_close(outcome.loss, together(losses))
    assert outcome.metrics["accuracy"] == right.max() / 12


def test_the_energy_is_lowest_for_two_of_a_kind() -> None:
    x = torch.randn(5, 16)
    assert (probing().energy(x, x) < probing().energy(x, x.flip(0))).tolist() == [True, True, False, True, True]


def stepped(rank: int, world: int, sharded: bool) -> dict[str, Tensor]:
    """The grid after three steps on this process's share."""
    objective = in_fp64(probing()).train()  # type: ignore[assignment]
    convert(objective)
    if sharded:
        mesh = init_device_mesh("cpu", (world,))
        for unit in (*objective.backbone.blocks(), objective.grid, objective):
            fully_shard(unit, mesh=mesh)
    initialise(objective.to_empty(device="cpu"), 0)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, 1.0, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        objective(share_of(random_views(8, seed=step), rank, world), Progress()).loss.backward()
        if world > 1 and not sharded:
            for parameter in parameters:
                assert parameter.grad is not None
                torch.distributed.all_reduce(parameter.grad.div_(world))
        optimizer.step()
    return {
        key: value.full_tensor() if isinstance(value, DTensor) else value
        for key, value in objective.grid.state_dict().items()
    }


def test_two_processes_sharded_or_not_train_the_heads_of_one() -> None:
    expected = stepped(0, 1, False)
    assert expected["stacks.0.weight"].abs().sum() > 0
    for sharded in (False, True):
        for found in on_processes(stepped, 2, sharded):
            torch.testing.assert_close(found, expected)
