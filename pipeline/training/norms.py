"""Norms of whole tensors of which a process may hold a shard: one collective for the whole model, nothing read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


def global_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norms of whole tensors (n), at least fp32, given tensors of which a process may hold a shard.

    The squares of all tensors that are sharded over the same mesh go through one all_reduce. With replicas (HSDP) it
    goes over all of them, though each could do with its own shards: what every process gets is then equal to the bit,
    so replicas, whose weights nobody compares, cannot part over a norm or over whether a step is left out.
    """
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    shared: dict[tuple[str, int], tuple[dist.ProcessGroup, list[int]]] = {}
    for i, tensor in enumerate(tensors):
        for group, copies in _sums(tensor):
            shared.setdefault((group.group_name, copies), (group, []))[1].append(i)
    norms = torch.stack(torch._foreach_norm([local(t) for t in tensors], 2, dtype=dtype))
    if not shared:
        return norms
    squares = list(norms.square().unbind())
    for (_, copies), (group, members) in shared.items():
        # An index as a tensor would be copied from the host, which waits for the device.
        sums = torch.stack([squares[i] for i in members])
        dist.all_reduce(sums, group=group)
        sums /= copies
        for i, square in zip(members, sums.unbind(), strict=True):
            squares[i] = square
    return torch.stack(squares).sqrt()


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _sums(tensor: Tensor) -> Iterator[tuple[dist.ProcessGroup, int]]:
    """The processes over which to add up the squares of a tensor, and how often each square is then counted."""
    if not isinstance(tensor, DTensor) or not any(placement.is_shard() for placement in tensor.placements):
        return
    mesh = tensor.device_mesh
    everyone = dist.group.WORLD
    if mesh.ndim > 1 and mesh.size() == dist.get_world_size() and everyone is not None:
        copies = 1
        for size, placement in zip(mesh.shape, tensor.placements, strict=True):
            copies *= 1 if placement.is_shard() else size
        yield everyone, copies
        return
    for axis, placement in enumerate(tensor.placements):
        if placement.is_shard():
            yield mesh.get_group(axis), 1
