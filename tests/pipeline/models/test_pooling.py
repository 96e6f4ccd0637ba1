"""The mean over a map and its gradient, and what a step writes in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.models.pooling import Average, average
from tests.pipeline.networks import random_views, small_backbone


def test_its_gradient_is_that_of_finite_differences() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: average(x, torch.float64), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_kept_in_fp32_whatever_is_asked_for(dtype: torch.dtype) -> None:
    x = (torch.randn(2, 3, 64, 64) + 40).to(dtype).contiguous(memory_format=torch.channels_last)
    expected = x.double().mean((2, 3))
    torch.testing.assert_close(average(x, torch.float32).double(), expected, rtol=1e-6, atol=0)
    # Half a unit in the last place, and no more.
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(average(x, dtype).double(), expected, rtol=0.51 * step + 1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_equals_torchs_pooling_in_value_and_gradient(dtype: torch.dtype) -> None:
    # 64 x 64 numbers of 40 sum to more than fp16 holds.
    x = (torch.randn(2, 3, 64, 64) + 40).to(dtype).contiguous(memory_format=torch.channels_last)
    cotangent = torch.randn(2, 3, 1, 1, dtype=dtype)
    found: list[tuple[Tensor, Tensor]] = []
    for pool in (nn.AdaptiveAvgPool2d(1), Average()):
        leaf = x.clone().requires_grad_()
        output = pool(leaf)
        output.backward(cotangent)
        assert leaf.grad is not None
        found.append((output.detach(), leaf.grad))
    torch.testing.assert_close(found[1], found[0])


class Written(TorchDispatchMode):
    """Notes operations that write a map of several pixels otherwise than channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.ndim == 4 and len(tensor) == IMAGES and tensor[0, 0].numel() > 1:
                expanded = tensor.stride()[2:] == (0, 0)
                if not expanded and not tensor.is_contiguous(memory_format=torch.channels_last):
                    self.operations.append(str(function))
        return result


IMAGES = 14


def step(backbone: nn.Module, images: Tensor) -> list[str]:
    with Written() as written, torch.autocast("cpu", torch.bfloat16):
        backbone(images).square().sum().backward()
    return written.operations


def test_a_step_writes_every_map_channels_last() -> None:
    backbone = small_backbone()
    images = backbone.prepare(random_views(IMAGES // 2).crops[0])
    assert step(backbone, images) == []
    for layer in list(backbone.modules()):
        if isinstance(getattr(layer, "avg_pool", None), Average):
            layer.avg_pool = nn.AdaptiveAvgPool2d(1)
    assert step(backbone, images)


@pytest.mark.parametrize("squeeze", [0.25, 0.0])
def test_a_backbone_has_the_values_and_gradients_it_has_with_torchs_pooling(squeeze: float) -> None:
    torch.manual_seed(0)
    ours = small_backbone(squeeze=squeeze).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)

    def gradients(forward: Callable[[Tensor], Tensor]) -> list[Tensor]:
        output = forward(images)
        return [output.detach(), *torch.autograd.grad(output.square().sum(), list(ours.parameters()))]

    found = gradients(ours)
    for layer in list(ours.modules()):
        if isinstance(getattr(layer, "avg_pool", None), Average):
            layer.avg_pool = nn.AdaptiveAvgPool2d(1)
    torch.testing.assert_close(gradients(lambda images: ours.features(images).mean((2, 3))), found)
