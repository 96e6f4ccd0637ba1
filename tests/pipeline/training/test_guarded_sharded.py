"""Twenty steps of every optimizer on one, two and four processes, and its state from some to others.

Losses, clipping, a step left out because of one process's shard, and a loss scale that moves are part of each run.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import load, save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.checkpoints.state import set_training_state, training_state
from pipeline.training.guarded import Guarded
from pipeline.training.larc import LARC
from pipeline.training.loss_scaling import LossScaler
from pipeline.training.norms import local
from pipeline.training.optimizers import LARS, SGD, AdamW, AnyOptimizer
from tests.distributed import on_processes

STEPS, BATCH, BAD = 20, 8, 7


class ReadsNothing(TorchDispatchMode):
    """Raises where the host asks the device for a number."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host waits for the device"
        return func(*args, **(kwargs or {}))


CONFIGS: dict[str, AnyOptimizer] = {
    "larc": SGD.Config(rate=1.0, per=BATCH, weight_decay=1e-3, clip_norm=0.2, larc=LARC.Config(trust=0.01)),
    "larc, clipped": SGD.Config(rate=0.5, per=BATCH, clip_norm=0.2, larc=LARC.Config(trust=0.1, clip=True)),
    "lars": LARS.Config(rate=1.0, per=BATCH, weight_decay=1e-3, clip_norm=0.2, trust=0.01, momentum_of="updates"),
    "adamw": AdamW.Config(rate=0.01, per=BATCH, clip_norm=0.2),
}
SCALER = LossScaler.Config(initial=256.0, interval=5)
PLACES = [("fsdp", 2), ("fsdp", 4), ("hsdp", 4), ("ddp", 2)]
places = pytest.mark.parametrize(("kind", "world"), PLACES, ids=[f"{kind} on {world}" for kind, world in PLACES])


def network(kind: str, world: int, precision: torch.dtype) -> nn.Module:
    """Convolution, normalisation and linear layers; with four processes some hold nothing of some."""
    torch.manual_seed(0)
    module: nn.Module = nn.Sequential(
        *(nn.Conv2d(2, 5, 3), nn.GroupNorm(1, 5), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(80, 7), nn.Tanh(), nn.Linear(7, 3)),
    ).to(precision)
    if kind == "ddp":
        return DistributedDataParallel(module)
    if kind != "none":
        shape, names = ((2, 2), ("replicas", "shards")) if kind == "hsdp" else ((world,), ("shards",))
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        fully_shard(module[4], mesh=mesh)  # type: ignore[index]
        fully_shard(module, mesh=mesh)
    return module


def steps(rank: int, world: int, module: nn.Module, optimizer: Guarded, numbers: range) -> list[int]:
    """Train on this process's share of each batch; gives the collectives of each optimizer step."""
    collectives = []
    precision = next(module.parameters()).dtype
    for step in numbers:
        draw = torch.Generator().manual_seed(step)
        images = torch.randn(BATCH, 2, 6, 6, generator=draw, dtype=torch.float64).to(precision)
        mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        optimizer.zero_grad()
        loss = F.mse_loss(module(images[mine]), images[mine, 0, 0, :3])
        optimizer.scale(loss).backward()
        if step == BAD and rank % 2 == (world > 1):
            # The shards of one half of the processes; under DDP every process has the same gradient.
            for p in module.parameters():
                assert p.grad is not None
                local(p.grad)[:1] = float("nan")
        if step == BAD and isinstance(module, DistributedDataParallel):
            next(module.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        with ReadsNothing(), mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reductions:
            optimizer.step()
        collectives.append(reductions.call_count)
    return collectives


def whole(module: nn.Module) -> list[Tensor]:
    return [p.full_tensor().detach() if isinstance(p, DTensor) else p.detach() for p in module.parameters()]


Trained = tuple[list[Tensor], dict[str, Tensor], list[int]]


def trained(rank: int, world: int, kind: str) -> dict[tuple[str, torch.dtype], Trained]:
    """For each optimizer and precision: parameters, metrics, collectives of each step."""
    found = {}
    for precision in (torch.float32, torch.float64):
        for name, config in CONFIGS.items():
            module = network(kind, world, precision)
            optimizer = config.build(module, BATCH, SCALER)
            collectives = steps(rank, world, module, optimizer, range(STEPS))
            found[name, precision] = whole(module), optimizer.metrics, collectives
    return found


@pytest.fixture(scope="module")
def alone() -> dict[tuple[str, torch.dtype], Trained]:
    return trained(0, 1, "none")


@places
def test_twenty_steps_are_those_of_one_process(
    kind: str, world: int, alone: dict[tuple[str, torch.dtype], Trained]
) -> None:
    for found in on_processes(trained, world, kind):
        for case, (tensors, metrics, collectives) in found.items():
            expected, told, _ = alone[case]
            tolerance = 1e-6 if case[1] == torch.float32 else 1e-13
            for a, b in zip(tensors, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(metrics, told, rtol=20 * tolerance, atol=0)
            assert metrics["skipped"] == 1
            assert metrics["loss_scale"] == 1024, "256, doubled after 5 good steps, halved, and doubled twice"
            assert collectives == [0 if kind == "ddp" else 1] * STEPS


def test_clipping_and_the_rate_matter_in_these_runs(alone: dict[tuple[str, torch.dtype], Trained]) -> None:
    """Else their equality would show little."""
    start = whole(network("none", 1, torch.float64))
    for name in CONFIGS:
        tensors, metrics, _ = alone[name, torch.float64]
        assert metrics["grad_norm"] > 0.2
        assert all((a - b).norm() > 0.02 * b.norm() for a, b in zip(tensors, start, strict=True)), name


def test_the_trap_for_reads_works() -> None:
    with ReadsNothing(), pytest.raises(AssertionError, match="waits"):
        torch.ones(()).item()


def saved_after_ten(rank: int, world: int, name: str, folder: str) -> None:
    module = network("fsdp", world, torch.float64)
    optimizer = CONFIGS[name].build(module, BATCH, SCALER)
    steps(rank, world, module, optimizer, range(10))
    save(training_state(module, optimizer), checkpoint_id=folder)


def continued(rank: int, world: int, kind: str, folders: dict[str, str]) -> dict[str, Any]:
    found = {}
    for name, folder in folders.items():
        module = network(kind, world, torch.float64)
        optimizer = CONFIGS[name].build(module, BATCH, SCALER)
        state = training_state(module, optimizer)
        load(state, checkpoint_id=folder, no_dist=world == 1)
        set_training_state(module, optimizer, state)
        steps(rank, world, module, optimizer, range(10, STEPS))
        found[name] = whole(module), optimizer.metrics
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints of every optimizer, from two processes, three steps after one that was left out."""
    found = {name: str(tmp_path_factory.mktemp("run")) for name in CONFIGS}
    for name, folder in found.items():
        on_processes(saved_after_ten, 2, name, folder)
    return found


@pytest.mark.parametrize(("kind", "world"), [("none", 1), *PLACES[1:]])
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized")
def test_a_checkpoint_of_two_processes_goes_on_with_others_with_its_scale_and_counters(
    kind: str, world: int, folders: dict[str, str], alone: dict[tuple[str, torch.dtype], Trained]
) -> None:
    parts = on_processes(continued, world, kind, folders) if world > 1 else [continued(0, 1, kind, folders)]
    for part in parts:
        for name, (tensors, metrics) in part.items():
            expected, told, _ = alone[name, torch.float64]
            for a, b in zip(tensors, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(metrics, told, rtol=1e-11, atol=0)
