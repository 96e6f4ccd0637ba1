"""What one process holds of a sharded training: parameters, gradients, momentum, against an equal part of the whole.

With few processes it is measured: gloo processes build on meta, shard, fill, take a step of our optimizer, and count
the numbers in what they hold. With many, torch's fake backend lets one process be the first of hundreds on meta; the
first is the one whose share is largest, as shards are cut by rows and the last ones get what is left.
"""

from __future__ import annotations

import statistics

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline.models.regnet import RegNet
from pipeline.objectives import Objective, SwAV
from pipeline.training.assembly import materialise, prepare
from pipeline.training.optimizers import SGD
from pipeline.training.settings import TrainerConfig
from tests.benchmarks.rounds import Row
from tests.distributed import on_processes


def measured(size: str, world: int, prototypes: int) -> Row:
    """Real processes, after a step."""
    held = on_processes(_after_a_step, world, size, prototypes)
    whole = 3 * sum(p.numel() for p in _objective(size, prototypes).parameters())
    return _row(f"state_per_rank_{size}_{world}", max(held), whole, world, [one * world / whole for one in held])


def reckoned(size: str, world: int, prototypes: int, hidden: tuple[int, ...], dim: int) -> Row:
    """The first of `world` processes that are not there."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    try:
        objective = _objective(size, prototypes, hidden, dim)
        whole = 3 * sum(p.numel() for p in objective.parameters())
        prepare(objective, _trainer(world), "cpu")
        held = 3 * _numbers(objective)
    finally:
        dist.destroy_process_group()
    return _row(f"state_per_rank_{size}_{world}_fake", held, whole, world, [held * world / whole])


def _row(name: str, most: int, whole: int, world: int, ratios: list[float]) -> Row:
    return Row(
        name=name,
        ours=most * 4 / 1e6,
        peer=whole * 4 / world / 1e6,
        ratio=max(ratios),
        low=min(ratios),
        high=statistics.fmean(ratios),
        unit="MB of fp32 parameters, gradients and momentum, the fullest process",
        asked="≤ 1.02",
        of="fullest / (whole / processes); lowest … mean",
    )


def _trainer(world: int) -> TrainerConfig:
    return TrainerConfig(batch=8192 // world * world, devices=world, accelerator="cpu", sync_batchnorm=False)


def _objective(size: str, prototypes: int, hidden: tuple[int, ...] = (2048,), dim: int = 128) -> Objective:
    with torch.device("meta"):
        head = SwAV.Config(prototypes=prototypes, hidden=hidden, dim=dim, freeze_prototypes=0)
        return head.build(RegNet.Config(size=size).build())


def _after_a_step(rank: int, world: int, size: str, prototypes: int) -> int:
    objective = _objective(size, prototypes)
    prepare(objective, _trainer(world), "cpu")
    materialise(objective, torch.device("cpu"), seed=0)
    optimizer = SGD.Config().build(objective, batch=256)
    for parameter in objective.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if _is_moment(value)]
    gradients = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
    return _numbers(objective) + sum(_local(tensor).numel() for tensor in (*gradients, *states))


def _is_moment(value: object) -> bool:
    return isinstance(value, Tensor) and value.numel() > 1


def _numbers(module: nn.Module) -> int:
    return sum(_local(parameter).numel() for parameter in module.parameters())


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
