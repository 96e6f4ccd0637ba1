"""Norms of whole tensors of which a process may hold a shard: one collective for the whole model, nothing read back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


def global_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norms of whole tensors (n), at least fp32, given tensors of which a process may hold a shard.

    The squares of all tensors that are sharded over the same processes go through one all_reduce. Over a mesh of two
    dimensions (HSDP) that is the one of shards; replicas have the same numbers already, as plain tensors do under DDP.
    """
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    squares = torch.stack(torch._foreach_norm([local(t) for t in tensors], 2, dtype=dtype)).square()
    shared: dict[Hashable, tuple[dist.ProcessGroup, list[int]]] = {}
    for i, tensor in enumerate(tensors):
        if isinstance(tensor, DTensor):
            for axis, placement in enumerate(tensor.placements):
                if placement.is_shard():
                    group = tensor.device_mesh.get_group(axis)
                    shared.setdefault(group.group_name, (group, []))[1].append(i)
    for group, members in shared.values():
        if len(members) == len(squares):
            dist.all_reduce(squares, group=group)
            continue
        # An index as a tensor would be copied from the host, which waits for the device.
        partial = torch.stack([squares[i] for i in members])
        dist.all_reduce(partial, group=group)
        for i, square in zip(members, partial.unbind(), strict=True):
            squares[i] = square
    return squares.sqrt()


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
