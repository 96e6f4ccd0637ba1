"""Compiled blocks compute what plain ones do, recomputed and sharded too.

With the compiler's back end left out, which takes a minute: what is compiled, and what it is composed with, is ours.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.models import RegNet
from pipeline.models.batchnorm import convert
from pipeline.training.compiling import compile_blocks
from pipeline.training.recompute import recompute
from pipeline.training.sharding import recomputable
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone


def two_steps(network: RegNet, rows: slice = slice(None)) -> list[float]:
    """Losses of two steps, each of two resolutions."""
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(8, 3, size, size, generator=draw).double()[rows] for size in (32, 16)]
    optimizer, losses = torch.optim.SGD(network.parameters(), 0.1), []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.stack([network(group).square().mean() for group in images]).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def backbone() -> RegNet:
    torch.manual_seed(0)
    return small_backbone(depths=(1, 1)).double()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_names_losses_and_statistics_are_those_of_plain_blocks() -> None:
    torch.compiler.reset()
    plain, compiled = backbone(), backbone()
    recompute(compiled, [[1], []])
    compile_blocks(compiled, "aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert two_steps(compiled) == pytest.approx(two_steps(plain), rel=1e-9)
    for (name, found), expected in zip(compiled.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{name}: {text}")


def sharded(rank: int, world: int, compiled: bool) -> tuple[list[float], list[Tensor]]:
    network = backbone()
    convert(network)
    recompute(network, [[1], []])
    if compiled:
        torch.compiler.reset()
        compile_blocks(network, "aot_eager")
    mesh = init_device_mesh("cpu", (world,))
    for block in network.blocks():
        fully_shard(block, mesh=mesh)
        recomputable(block)
    fully_shard(network, mesh=mesh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        losses = two_steps(network, slice(rank * 4, rank * 4 + 4))
    return losses, [buffer.clone() for buffer in network.buffers()]


@pytest.mark.slow
def test_sharded_over_two_processes_too() -> None:
    for found, expected in zip(on_processes(sharded, 2, True), on_processes(sharded, 2, False), strict=True):
        assert found[0] == pytest.approx(expected[0], rel=1e-9)
        torch.testing.assert_close(found[1], expected[1])
