"""The mean of a map over its pixels, with a gradient that is never written out.

Every pixel's gradient is the same number, so an expanded view of one number a channel says it all. torch writes the
whole map instead, contiguous however the map lay; behind channels_last maps each kernel that reads it then walks
memory in two orders.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def average(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, C, H, W) -> (N, C), summed in at least fp32 and given as `dtype`."""
    return cast(Tensor, _Average.apply(x, dtype))


class Average(nn.Module):
    """`nn.AdaptiveAvgPool2d(1)`: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return average(x, x.dtype)[:, :, None, None]


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        half = x.dtype == dtype and x.dtype.itemsize == 2
        if half and x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last):
            # On a CPU, mean copies a half-precision map into fp32 first; this kernel adds up in fp32 as it reads.
            return F.avg_pool2d(x, x.shape[2:]).flatten(1)
        return x.mean((2, 3), dtype=dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        share = (grad / (ctx.shape[2] * ctx.shape[3])).to(ctx.dtype)
        return share[:, :, None, None].expand(ctx.shape), None
