"""LARC: layer-wise rates for large batches (You et al. 2017, algorithm 1; NVIDIA Apex's LARC, which SEER used).

Each parameter's gradient g is replaced by trust * |p| / (|g| + wd * |p| + eps) * (g + wd * p) before the optimizer
steps without weight decay, so every layer moves by a like share of its size. With `clip` the factor is divided by
the rate and held to at most 1.

Under FSDP2 a process holds a shard of each parameter. The squared norms of all shards go through one all_reduce for
the whole model, and nothing is read back by the host.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


class LARC:
    """Rescales gradients in place; the optimizer that owns it steps afterwards."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        trust: float = 1e-3
        """Trust coefficient: how much of its own size a layer may move at a rate of 1."""
        clip: bool = False
        """Whether the adapted rate may not exceed the schedule's."""
        eps: float = 1e-8
        """Added to the denominator."""

        def build(self) -> LARC:
            return LARC(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @torch.no_grad()
    def adapt(self, groups: Sequence[dict[str, Any]]) -> None:
        """Rescale the gradients in parameter groups with `lr` and `weight_decay`, which it takes into the gradient."""
        groups = [{**group, "params": [p for p in group["params"] if p.grad is not None]} for group in groups]
        parameters = [p for group in groups for p in group["params"]]
        if not parameters:
            return
        gradients = [p.grad for p in parameters]
        norms = global_norms([*parameters, *gradients])
        done = 0
        for group in groups:
            size = len(group["params"])
            sizes, slopes = norms[done : done + size], norms[len(parameters) + done : len(parameters) + done + size]
            self._adapt(group, sizes, slopes)
            done += size

    def _adapt(self, group: dict[str, Any], sizes: Tensor, slopes: Tensor) -> None:
        if not group["params"]:
            return
        rate, decay = group["lr"], group["weight_decay"]
        factors = self.config.trust * sizes / (slopes + decay * sizes + self.config.eps)
        if self.config.clip:
            factors = (factors / rate).clamp_max(1)
        # Apex leaves a parameter or gradient of norm zero alone: no decay for the one, the plain gradient for the
        # other.
        factors = torch.where(slopes == 0, torch.zeros_like(factors), factors)
        factors = torch.where((sizes == 0) & (slopes != 0), torch.ones_like(factors), factors)
        gradients = [local(p.grad) for p in group["params"]]
        if decay:
            torch._foreach_add_(gradients, [local(p) for p in group["params"]], alpha=decay)
        torch._foreach_mul_(gradients, list(factors.unbind()))


def global_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norms of whole tensors (n), at least fp32, given tensors of which a process may hold a shard."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    squares = torch.stack(torch._foreach_norm([local(t) for t in tensors], 2, dtype=dtype)).square()
    shared: dict[Hashable, tuple[dist.ProcessGroup, list[int]]] = {}
    for i, tensor in enumerate(tensors):
        if isinstance(tensor, DTensor):
            for axis, placement in enumerate(tensor.placements):
                if placement.is_shard():
                    group = tensor.device_mesh.get_group(axis)
                    shared.setdefault(group.group_name, (group, []))[1].append(i)
    for group, members in shared.values():
        index = torch.tensor(members, device=squares.device)
        partial = squares[index]
        dist.all_reduce(partial, group=group)
        squares[index] = partial
    return squares.sqrt()


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
