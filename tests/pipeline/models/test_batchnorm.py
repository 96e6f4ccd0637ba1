"""BatchNorm over several processes against plain BatchNorm over the whole batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from pipeline.models.batchnorm import SyncBatchNorm, check_groups, convert, group_of
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, small_backbone

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


def in_groups(rank: int, world: int, size: int, shape: tuple[int, ...], cuts: list[int]) -> dict[str, Tensor]:
    x, cotangent = data(shape)
    wrapped = nn.Sequential(layer(shape))
    convert(wrapped, group_of(size))
    mine = slice(cuts[rank], cuts[rank + 1])
    return steps(wrapped[0], x[mine], cotangent[mine])


@pytest.mark.parametrize("size", [1, 2, 4, 0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_groups_of_processes_equal_batchnorm_over_the_samples_of_each(shape: tuple[int, ...], size: int) -> None:
    cuts = [0, 2, 5, 8, 12]
    parts = on_processes(in_groups, 4, size, shape, cuts)
    size = size or 4
    x, cotangent = data(shape)
    for first in range(0, 4, size):
        members = parts[first : first + size]
        samples = slice(cuts[first], cuts[first + size])
        for name, whole in steps(layer(shape), x[samples], cotangent[samples]).items():
            if name in ("output", "grad"):
                found = torch.cat([part[name] for part in members])
            elif name.startswith("grad of"):
                found = torch.stack([part[name] for part in members]).sum(0)
            else:
                found = members[-1][name]
                torch.testing.assert_close(members[0][name], found)
            torch.testing.assert_close(found, whole, msg=lambda text, name=name: f"{name}: {text}")


def group_of_three(rank: int, world: int) -> str:
    with pytest.raises(ValueError) as caught:
        group_of(3)
    return str(caught.value)


def test_a_size_that_does_not_divide_the_processes_is_refused_with_the_sizes_that_do() -> None:
    check_groups(64, 512)
    check_groups(0, 7)
    with pytest.raises(ValueError, match="groups of 64 of 496 processes; sizes that fit are 1, 2, 4, 8, 16, 31, 62, "):
        check_groups(64, 496)
    with pytest.raises(ValueError, match="groups of -1 of 2 processes; sizes that fit are 1, 2, and 0 for all"):
        check_groups(-1, 2)
    for sentence in on_processes(group_of_three, 4):
        assert "groups of 3 of 4 processes" in sentence
    assert group_of(0) is None
    assert group_of(1) is None


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


def test_statistics_and_affine_parameters_stay_fp32_under_autocast() -> None:
    backbone = small_backbone()
    seen: dict[str, tuple[Tensor, nn.Module]] = {}
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda m, inputs, name=name: seen.update({name: (inputs[0].detach(), m)}))
    with torch.autocast("cpu", torch.bfloat16):
        backbone(backbone.prepare(random_views(6).crops[0])).sum().backward()
    assert len(seen) == 12
    for x, module in seen.values():
        assert x.dtype == torch.bfloat16
        assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in module.parameters() if p.grad is not None} == {torch.float32}
        # Not rounded to bf16's 8 bits.
        torch.testing.assert_close(module.running_mean, 0.1 * x.float().mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module.running_var, 0.9 + 0.1 * x.float().var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def under_fsdp(rank: int, world: int, half: bool) -> dict[str, Any]:
    """A step of a backbone whose BatchNorms are units of their own, one a block."""
    torch.manual_seed(0)
    backbone = small_backbone()
    convert(backbone, group_of(0))
    mesh = init_device_mesh("cpu", (world,))
    images = fsdp_images().double()
    policy = MixedPrecisionPolicy()
    if half:
        policy, images = MixedPrecisionPolicy(torch.bfloat16, torch.float32), images.bfloat16()
    else:
        backbone.double()
    uses = set()
    for unit in (backbone.get_submodule("stem"), *backbone.blocks()):
        layers = [module for module in unit.modules() if isinstance(module, SyncBatchNorm)]
        for module in layers:
            module.register_forward_pre_hook(lambda m, inputs: uses.add((m.weight.dtype, inputs[0].dtype)))
        fully_shard(layers, mesh=mesh)
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    fully_shard(backbone, mesh=mesh, mp_policy=policy)
    output = backbone(images[rank * 4 : rank * 4 + 4])
    output.square().sum().backward()
    grads = {name: p.grad.full_tensor() * world for name, p in backbone.named_parameters()}
    return {"uses": uses, "output": output.detach(), "grads": grads, "buffers": dict(backbone.named_buffers())}


def fsdp_images() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_batchnorms_sharded_as_units_of_their_own_equal_one_process() -> None:
    torch.manual_seed(0)
    backbone = small_backbone().double()
    output = backbone(fsdp_images().double())
    output.square().sum().backward()
    parts = on_processes(under_fsdp, 2, False)
    torch.testing.assert_close(torch.cat([part["output"] for part in parts]), output.detach())
    for part in parts:
        torch.testing.assert_close(part["grads"], {name: p.grad for name, p in backbone.named_parameters()})
        torch.testing.assert_close(part["buffers"], dict(backbone.named_buffers()))


def test_such_units_stay_fp32_where_the_rest_of_the_block_is_bf16() -> None:
    for part in on_processes(under_fsdp, 2, True):
        assert part["uses"] == {(torch.float32, torch.bfloat16)}
        assert {buffer.dtype for buffer in part["buffers"].values()} == {torch.float32, torch.int64}
        assert {grad.dtype for grad in part["grads"].values()} == {torch.float32}


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
