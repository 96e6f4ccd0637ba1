"""BatchNorm over several processes against plain BatchNorm over the whole batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.models.batchnorm import SyncBatchNorm, convert
from tests.distributed import on_processes

SHAPES = {"vectors": (12, 5), "maps": (12, 5, 3, 4)}


def layer(shape: tuple[int, ...], **settings: Any) -> nn.Module:
    torch.manual_seed(1)
    plain = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1], **settings)
    if plain.affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    return plain.double()


def data(shape: tuple[int, ...], offset: float = 0.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=draw, dtype=torch.float64) * 3 + offset
    return x, torch.randn(shape, generator=draw, dtype=torch.float64)


def steps(module: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Two training steps, and what is left of them."""
    for _ in range(2):
        module.zero_grad()
        x = x.detach().requires_grad_()
        output = module(x)
        (output * cotangent).sum().backward()
    assert x.grad is not None
    found = {"output": output.detach(), "grad": x.grad}
    found |= {f"grad of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found | dict(module.named_buffers())


def share(
    rank: int, world: int, shape: tuple[int, ...], cuts: list[int], settings: dict[str, Any]
) -> dict[str, Tensor]:
    x, cotangent = data(shape)
    wrapped = nn.Sequential(layer(shape, **settings))
    convert(wrapped)
    mine = slice(cuts[rank], cuts[rank + 1])
    return steps(wrapped[0], x[mine], cotangent[mine])


@pytest.mark.parametrize("settings", [{}, {"affine": False}, {"momentum": None}], ids=["affine", "plain", "cumulative"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_two_processes_with_unequal_shares_equal_one_in_value_gradient_and_statistics(
    shape: tuple[int, ...], settings: dict[str, Any]
) -> None:
    expected = steps(layer(shape, **settings), *data(shape))
    parts = on_processes(share, 2, shape, [0, 5, 12], settings)
    for name, whole in expected.items():
        if name in ("output", "grad"):
            found = torch.cat([part[name] for part in parts])
        elif name.startswith("grad of"):
            found = parts[0][name] + parts[1][name]
        else:
            found = parts[0][name]
            torch.testing.assert_close(parts[1][name], found)
        torch.testing.assert_close(found, whole, msg=lambda text, name=name: f"{name}: {text}")


def far_from_zero(rank: int, world: int) -> Tensor:
    x, _ = data(SHAPES["maps"], offset=1e4)
    module = SyncBatchNorm(5)
    return module(x[rank * 6 : rank * 6 + 6].float()).detach()


def test_statistics_do_not_cancel_for_values_far_from_zero() -> None:
    x, _ = data(SHAPES["maps"], offset=1e4)
    expected = nn.BatchNorm2d(5)(x.float())
    torch.testing.assert_close(torch.cat(on_processes(far_from_zero, 2)), expected, rtol=1e-2, atol=1e-2)


def in_half_groups(rank: int, world: int) -> list[float]:
    groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    module = nn.Sequential(nn.BatchNorm1d(1))
    convert(module, groups[rank // 2])
    module(torch.tensor([[float(rank)], [float(rank + 1)]]))
    return [float(module[0].running_mean), float(module[0].num_batches_tracked)]


def test_a_process_group_keeps_statistics_among_its_members() -> None:
    found = on_processes(in_half_groups, 4)
    assert found[0] == found[1] == [pytest.approx(0.1 * 1.0), 1]
    assert found[2] == found[3] == [pytest.approx(0.1 * 3.0), 1]


def in_bf16(rank: int, world: int) -> tuple[torch.dtype, bool, Tensor]:
    x, _ = data((12, 8, 4, 4))
    x = x[rank * 6 : rank * 6 + 6].bfloat16().contiguous(memory_format=torch.channels_last)
    output = SyncBatchNorm(8)(x)
    return output.dtype, output.is_contiguous(memory_format=torch.channels_last), output.detach()


def test_bf16_maps_stay_bf16_and_channels_last() -> None:
    x, _ = data((12, 8, 4, 4))
    parts = on_processes(in_bf16, 2)
    assert all(part[:2] == (torch.bfloat16, True) for part in parts)
    expected = nn.BatchNorm2d(8)(x.bfloat16())
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), expected, rtol=2e-2, atol=2e-2)


def test_converting_keeps_tensors_keys_and_mode_and_one_process_sees_plain_batchnorm() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, eps=1e-3), nn.Sequential(nn.BatchNorm1d(6))).eval()
    before, outputs = network.state_dict(), network(torch.ones(2, 4))
    weight = network[1].weight
    convert(network)
    assert isinstance(network[1], SyncBatchNorm)
    assert isinstance(network[2][0], SyncBatchNorm)
    assert network[1].weight is weight
    assert network[1].eps == 1e-3
    assert not network[1].training
    assert list(network.state_dict()) == list(before)
    torch.testing.assert_close(network(torch.ones(2, 4)), outputs)
    x = torch.randn(8, 4)
    torch.testing.assert_close(
        network.train()(x), nn.Sequential(network[0], nn.BatchNorm1d(6, 1e-3), nn.BatchNorm1d(6))(x)
    )
