"""Reads checkpoints into tensors that are sharded in any way: torch.distributed.checkpoint plans, this reads the bytes.

Only the rows that a process needs are read, straight into its memory where that lies on the CPU, in pieces otherwise.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.storage import StorageReader
from torch.futures import Future

from pipeline.checkpoints.content import DTYPES
from pipeline.checkpoints.tensors import bytes_of
from pipeline.checkpoints.values import from_json
from pipeline.checkpoints.verify import index_of
from pipeline.errors import ArtifactError

_AT_ONCE = 64 << 20  # bytes


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a piece lie."""

    file: str
    begin: int
    dtype: str
    sizes: tuple[int, ...]


class Reader(StorageReader):
    """The files of one checkpoint of this format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = index_of(path)
        self._places = {
            (name, tuple(offsets)): _Place(self.index["parts"][part], begin, facts["dtype"], tuple(sizes))
            for name, facts in self.index["tensors"].items()
            for part, begin, offsets, sizes in facts["pieces"]
        }

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The names, types, shapes and pieces, as torch wants them."""
        found: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
        for name, facts in self.index["tensors"].items():
            chunks = [ChunkStorageMetadata(torch.Size(o), torch.Size(s)) for _, _, o, s in facts["pieces"]]
            properties = TensorProperties(dtype=getattr(torch, facts["dtype"]))
            found[name] = TensorStorageMetadata(properties, torch.Size(facts["shape"]), chunks)
        return Metadata({**found, **{name: BytesStorageMetadata() for name in self.index["values"]}})

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Fill what the plan names."""
        for item in plan.items:
            if item.type == LoadItemType.BYTE_IO:
                text = io.BytesIO()
                torch.save(from_json(self.index["values"][item.storage_index.fqn]), text)
                text.seek(0)
                planner.load_bytes(item, text)
            else:
                target = planner.resolve_tensor(item).detach()
                self._fill(target, item)
                planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _fill(self, target: Tensor, item: ReadItem) -> None:
        place = self._places[item.storage_index.fqn, tuple(item.storage_index.offset or ())]
        if not place.sizes:
            target.copy_(self._rows(place, 0, 1).reshape(()))
            return
        if not target.numel():
            return
        first, count = item.storage_offsets[0], item.lengths[0]
        step = max(1, _AT_ONCE // max(1, _row_bytes(place)))
        for start in range(0, count, step):
            number = min(step, count - start)
            rows = self._rows(place, first + start, number)
            for dimension in range(1, rows.dim()):
                rows = rows.narrow(dimension, item.storage_offsets[dimension], item.lengths[dimension])
            target.narrow(0, start, number).copy_(rows)

    def _rows(self, place: _Place, first: int, count: int) -> Tensor:
        """Rows of a piece, (count, …), on the CPU."""
        rows = torch.empty((count, *place.sizes[1:]), dtype=getattr(torch, place.dtype))
        read_exactly(self.path / place.file, place.begin + first * _row_bytes(place), bytes_of(rows).data)
        return rows

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept between two reads."""

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to set up."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """The plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """The plans as they are."""
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """A directory."""
        return Path(checkpoint_id).is_dir()


def read_exactly(path: Path, begin: int, into: memoryview) -> None:
    """Fill `into` from a file. Raises `ArtifactError` where the file ends before."""
    try:
        with path.open("rb", 0) as file:
            while into:
                count = os.preadv(file.fileno(), [into[: 1 << 30]], begin)
                if not count:
                    raise ArtifactError(str(path), "ends too early", "use a checkpoint that verifies")
                into, begin = into[count:], begin + count
    except FileNotFoundError:
        raise ArtifactError(str(path), "is missing", "use a checkpoint that verifies") from None


def _row_bytes(place: _Place) -> int:
    return prod(place.sizes[1:]) * DTYPES[place.dtype]
