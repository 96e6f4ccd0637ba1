"""Which process writes which piece of a state: decided by each alone, from what all of them know.

- A sharded tensor (DTensor): each process its shard. Where shards have copies, as over the replicas of HSDP, one of the
  copies, another one for the next tensor.
- A plain tensor is the same in all processes: small ones fall to the first, so that the statistics of a BatchNorm come
  from one process together; large ones go one by one to the process that has least to write.
- What is no tensor is the first process's.

So no collective is needed to plan a save. The names are those that torch.distributed.checkpoint gives.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.planner import WriteItemType
from torch.distributed.tensor import DTensor

from pipeline.checkpoints.content import DTYPES
from pipeline.checkpoints.state import State
from pipeline.checkpoints.tensors import dtype_name
from pipeline.checkpoints.values import to_json

SMALL = 1 << 20
"""Bytes up to which a plain tensor is the first process's to write."""


@dataclass(frozen=True)
class Piece:
    """A range of rows of a tensor, or all of it, that this process writes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    tensor: Tensor
    """The values, where training has them."""

    @property
    def bytes(self) -> int:
        """Size of the values."""
        return math.prod(self.sizes) * DTYPES[self.dtype]

    @property
    def key(self) -> str:
        """Its name in the file: the tensor's, and where it begins if it is not all of it."""
        return self.name if self.sizes == self.shape else f"{self.name}@{','.join(map(str, self.offsets))}"


@dataclass(frozen=True)
class Shared:
    """What this process writes of a state."""

    pieces: tuple[Piece, ...]
    values: dict[str, Any]
    """What is no tensor, as JSON; the same in every process."""
    bytes: int
    """Size of all tensors of the state, over all processes."""


def share(state: State, rank: int, world: int) -> Shared:
    """The part of process `rank` of `world`. Raises `TypeError` for a value that cannot be stored."""
    planner = DefaultSavePlanner()
    planner.set_up_planner(state, None, rank == 0)
    values: dict[str, Any] = {}
    ours: list[Piece] = []
    plain: list[Piece] = []
    total: dict[str, int] = {}
    for item in planner.create_local_plan().items:
        held = planner.state_dict[item.index.fqn]
        if item.type == WriteItemType.BYTE_IO:
            values[item.index.fqn] = to_json(held, item.index.fqn)
            continue
        assert item.tensor_data is not None
        dtype, chunk = dtype_name(item.tensor_data.properties.dtype), item.tensor_data.chunk
        if dtype not in DTYPES:
            raise TypeError(f"{item.index.fqn} has the type {dtype}, which a checkpoint cannot hold")
        values_of = planner.resolve_data(item)
        assert isinstance(values_of, Tensor)
        shape, offsets, sizes = (tuple(x) for x in (item.tensor_data.size, chunk.offsets, chunk.sizes))
        if sizes[1:] != shape[1:]:
            raise TypeError(f"{item.index.fqn} is sharded by another dimension than the first, which is not supported")
        piece = Piece(item.index.fqn, dtype, shape, offsets, sizes, values_of)
        total[piece.name] = math.prod(shape) * DTYPES[dtype]
        if not isinstance(held, DTensor):
            plain.append(piece)
        elif _is_ours(held, piece.name) and (piece.bytes or not total[piece.name]):
            ours.append(piece)
    ours += (piece for piece, owner in _dealt(plain, world) if owner == rank)
    # Types of many bytes first: then every piece begins at a multiple of its type's size, without gaps.
    ours.sort(key=lambda piece: (-DTYPES[piece.dtype], piece.name))
    return Shared(tuple(ours), values, sum(total.values()))


def _is_ours(tensor: DTensor, name: str) -> bool:
    """Whether this process is the copy of its shard that is written."""
    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return False
    copy, copies = 0, 1
    for place, size, placement in zip(coordinate, tensor.device_mesh.shape, tensor.placements, strict=True):
        assert not placement.is_partial(), name
        if placement.is_replicate():
            copy, copies = copy * size + place, copies * size
    return copy == zlib.crc32(name.encode()) % copies


def _dealt(plain: list[Piece], world: int) -> Iterator[tuple[Piece, int]]:
    """Every plain tensor and the process that writes it."""
    load = [0] * world
    for piece in sorted(plain, key=lambda piece: (-piece.bytes, piece.name)):
        owner = load.index(min(load)) if piece.bytes > SMALL else 0
        load[owner] += piece.bytes
        yield piece, owner
