"""Recomputation changes memory and nothing else: outputs, gradients and running statistics stay to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.models import RegNet
from pipeline.models.batchnorm import convert
from pipeline.training.recompute import recompute
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone

State = dict[str, Tensor]


def backbone() -> RegNet:
    torch.manual_seed(0)
    return small_backbone()


def images(size: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, size, size, generator=draw).contiguous(memory_format=torch.channels_last)


def two_steps(network: nn.Module, rows: slice = slice(None), precision: torch.dtype | None = None) -> list[Tensor]:
    """Two steps, each of two forward passes of different resolutions before one backward pass; gives the losses."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    losses = []
    for step in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision is not None):
            outputs = [network(images(size, 10 * step + size)[rows]) for size in (32, 16)]
        loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def test_losses_weights_and_running_statistics_equal_those_without_recomputation() -> None:
    plain, saving = backbone(), backbone()
    recompute(saving, [0, 2])
    assert two_steps(saving) == two_steps(plain)
    assert list(saving.state_dict()) == list(plain.state_dict())
    for key, tensor in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[key], tensor), key


def test_under_autocast_the_recomputation_has_the_precision_of_the_forward_pass() -> None:
    """Weights are not equal to the bit: without recomputation autocast adds up the gradients of both passes in bf16."""
    plain, saving = backbone(), backbone()
    recompute(saving, [0, 1, 2])
    precisions: list[torch.dtype] = []
    saving.get_submodule("s1.b1.f.a").register_forward_hook(lambda *args: precisions.append(args[2].dtype))
    expected, found = two_steps(plain, precision=torch.bfloat16), two_steps(saving, precision=torch.bfloat16)
    assert precisions == [torch.bfloat16] * 8
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=1e-2, atol=0)


def test_a_recomputed_block_keeps_only_its_input() -> None:
    def kept(network: nn.Module) -> int:
        sizes: list[int] = []

        def note(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(images(32, 0)).sum()
        return sum(sizes)

    plain, saving = backbone(), backbone()
    recompute(saving, range(3))
    assert kept(saving) < 0.5 * kept(plain)


def test_without_gradients_nothing_is_recomputed_and_evaluation_is_unchanged() -> None:
    plain, saving = backbone().eval(), backbone().eval()
    recompute(saving, [0, 1, 2])
    with torch.no_grad():
        assert torch.equal(saving(images(32, 0)), plain(images(32, 0)))


def test_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="block 3 cannot be recomputed; the backbone has blocks 0 to 2"):
        recompute(backbone(), [3])


def sharded(rank: int, world: int, blocks: list[int]) -> tuple[list[Tensor], State]:
    network = backbone()
    convert(network)
    recompute(network, blocks)
    mesh = init_device_mesh("cpu", (world,))
    for block in network.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    losses = two_steps(network, slice(rank * 4, rank * 4 + 4))
    return losses, {key: buffer.clone() for key, buffer in network.named_buffers()}


def test_sharded_over_two_processes_losses_and_running_statistics_stay_equal_too() -> None:
    for (losses, buffers), (expected, statistics) in zip(
        on_processes(sharded, 2, [0, 1, 2]), on_processes(sharded, 2, []), strict=True
    ):
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
        for key, buffer in statistics.items():
            torch.testing.assert_close(buffers[key], buffer, rtol=1e-5, atol=1e-7)
