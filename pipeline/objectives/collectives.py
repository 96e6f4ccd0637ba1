"""Sums over all processes inside a loss.

An all_reduce outside autograd inside a loss shrinks its gradient without an error; `total` carries it: the backward
pass sums the gradient over processes too, so that after data parallelism has averaged, a loss computed from totals
has the gradient that one process would have found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Processes that share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def total(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, differentiable."""
    return cast(Tensor, _Total.apply(x)) if world_size() > 1 else x


def sum_(x: Tensor) -> Tensor:
    """`total` in place, outside autograd."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def maximum_(x: Tensor) -> Callable[[], Tensor]:
    """The elementwise maximum over all processes, in place, outside autograd; on its way until it is called for."""
    if world_size() == 1:
        return lambda: x
    work = dist.all_reduce(x, dist.ReduceOp.MAX, async_op=True)
    assert work is not None

    def arrived() -> Tensor:
        work.wait()
        return x

    return arrived


def gathered(x: Tensor, dim: int) -> Tensor:
    """The equally large `x` of all processes, one behind the other along `dim`; outside autograd."""
    if world_size() == 1:
        return x
    every = x.new_empty(world_size(), *x.shape)
    dist.all_gather(list(every.unbind()), x.contiguous())
    return torch.cat(every.unbind(), dim)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return sum_(x.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return sum_(grad.clone())
