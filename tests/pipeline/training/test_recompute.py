"""Recomputation changes memory and nothing else: outputs, gradients and running statistics stay to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.models import RegNet
from pipeline.models.batchnorm import convert
from pipeline.training.recompute import Ends, in_pieces, recompute
from pipeline.training.sharding import recomputable
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone

State = dict[str, Tensor]

BLOCKS, GROUPS, ONE_BLOCK_OF_TWO = [[1], [1, 2]], [[1], [2]], [[], [1]]
"""Of two stages, the second of two blocks: each block for itself; each stage as one; a block alone."""


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


@pytest.mark.parametrize("ends", [BLOCKS, GROUPS, ONE_BLOCK_OF_TWO], ids=["blocks", "stages", "one block"])
def test_losses_weights_and_running_statistics_equal_those_without_recomputation(ends: Ends) -> None:
    plain, saving = backbone(), backbone()
    recompute(saving, ends)
    assert two_steps(saving) == two_steps(plain)
    assert list(saving.state_dict()) == list(plain.state_dict())
    for key, tensor in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[key], tensor), key


def test_under_autocast_the_recomputation_has_the_precision_of_the_forward_pass() -> None:
    """Weights are not equal to the bit: without recomputation autocast adds up the gradients of both passes in bf16."""
    plain, saving = backbone(), backbone()
    recompute(saving, BLOCKS)
    precisions: list[torch.dtype] = []
    saving.get_submodule("s1.b1.f.a").register_forward_hook(lambda *args: precisions.append(args[2].dtype))
    expected, found = two_steps(plain, precision=torch.bfloat16), two_steps(saving, precision=torch.bfloat16)
    assert precisions == [torch.bfloat16] * 8
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=1e-2, atol=0)


def kept(network: nn.Module) -> int:
    """Numbers that a forward pass keeps for the backward pass."""
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(images(32, 0)).sum()
    return sum(sizes)


def test_a_recomputed_group_keeps_only_its_input() -> None:
    plain, by_block, by_stage = backbone(), backbone(), backbone()
    recompute(by_block, BLOCKS)
    recompute(by_stage, GROUPS)
    assert kept(by_block) < 0.5 * kept(plain)
    width, side = 16, 32 // 2 // 2 // 2
    assert kept(by_block) - kept(by_stage) == 8 * width * side * side, "the input of the second stage's second block"


def test_without_gradients_nothing_is_recomputed_and_evaluation_is_unchanged() -> None:
    plain, saving = backbone().eval(), backbone().eval()
    recompute(saving, BLOCKS)
    with torch.no_grad():
        assert torch.equal(saving(images(32, 0)), plain(images(32, 0)))


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ([[1], [3]], r"groups cannot end at blocks \[3\] of a stage of 2 blocks"),
        ([[0], []], r"groups cannot end at blocks \[0\] of a stage of 1 blocks"),
        ([[], [2, 1]], r"\[2, 1\]"),
        ([[1]], "groups are given for 1 stages, but the backbone has 2"),
    ],
)
def test_a_group_that_cannot_be_is_refused(ends: Ends, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        recompute(backbone(), ends)


def statistics_held(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


@pytest.mark.parametrize("ends", [[], GROUPS], ids=["alone", "groups inside"])
def test_a_loss_over_the_whole_batch_is_the_same_in_pieces_in_value_and_gradient(ends: Ends) -> None:
    plain, saving = backbone().double(), backbone().double()
    recompute(saving, ends)
    in_pieces(saving, 4)
    losses = []
    for network in (plain, saving):
        statistics_held(network)
        features = torch.cat([network(images(size, size).double()) for size in (32, 16)])
        losses.append((features @ features.T).softmax(1).square().sum())
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_pieces_keep_next_to_nothing_of_the_forward_pass_and_update_statistics_once_each() -> None:
    plain, saving = backbone(), backbone()
    in_pieces(saving, 4)
    assert kept(saving) == images(32, 0).numel()
    for part in images(32, 0).chunk(4):
        plain(part)
    saving.zero_grad()
    saving.load_state_dict(backbone().state_dict())
    saving(images(32, 0)).sum().backward()
    for (name, found), expected in zip(saving.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{name}: {text}")


def sharded(rank: int, world: int, ends: Ends) -> tuple[list[Tensor], State]:
    network = backbone()
    convert(network)
    recompute(network, ends)
    mesh = init_device_mesh("cpu", (world,))
    for block in network.blocks():
        fully_shard(block, mesh=mesh)
        recomputable(block)
    fully_shard(network, mesh=mesh)
    losses = two_steps(network, slice(rank * 4, rank * 4 + 4))
    return losses, {key: buffer.clone() for key, buffer in network.named_buffers()}


@pytest.mark.parametrize("ends", [BLOCKS, GROUPS], ids=["blocks", "stages"])
def test_sharded_over_two_processes_losses_and_running_statistics_stay_equal_too(ends: Ends) -> None:
    for (losses, buffers), (expected, statistics) in zip(
        on_processes(sharded, 2, ends), on_processes(sharded, 2, []), strict=True
    ):
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
        for key, buffer in statistics.items():
            torch.testing.assert_close(buffers[key], buffer, rtol=1e-5, atol=1e-7)
