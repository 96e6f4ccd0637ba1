"""A checkpoint of tensors that lie elsewhere, read while it is written: a few rows are in memory at a time.

`Saver` copies a training's whole state first. Here nothing changes meanwhile, and ten billion weights from a released
file become a checkpoint on a small machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pipeline.checkpoints.commit import Position, begin, commit, temporary_of
from pipeline.checkpoints.content import DTYPES, MODULUS
from pipeline.checkpoints.head import head
from pipeline.checkpoints.manifest import FOLDER, FORMAT, Saved, code_versions
from pipeline.checkpoints.part import Written, part_name
from pipeline.checkpoints.retention import Retention, tidy
from pipeline.checkpoints.rows import sum_of_rows
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.tensors import bytes_of, dtype_name
from pipeline.runs import disk_error

_AT_ONCE = 64 << 20  # bytes
_MB = 1_000_000


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in a file. `read` gives it; where the file is mapped, its values come when they are used."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    """What it is to be, whatever type `read` gives."""
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> Stored:
        """A tensor that is already here, or mapped."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor.detach())

    @property
    def bytes(self) -> int:
        """Size of its values."""
        return prod(self.shape) * DTYPES[dtype_name(self.dtype)]

    def rows(self, at_once: int = _AT_ONCE) -> Iterator[tuple[int, Tensor]]:
        """Its rows, contiguous, a few at a time, each time with the number of the first of them."""
        tensor = self.read()
        assert tuple(tensor.shape) == self.shape, f"{tuple(tensor.shape)} was promised to be {self.shape}"
        if not self.shape or not self.bytes:
            yield 0, tensor.to(self.dtype).contiguous()
            return
        step = max(1, at_once // (self.bytes // self.shape[0]))
        for first in range(0, self.shape[0], step):
            yield first, tensor[first : first + step].to(self.dtype).contiguous()


class Counter(Protocol):
    """What `data_shards.progress.Progress` is here; counts MB."""

    def update(self, count: int, /) -> object: ...


def save_tensors(
    run: Path, tensors: Mapping[str, Stored], *, config: str = "", progress: Counter | None = None
) -> Saved:
    """Write the checkpoint of step 0 with `tensors` for the objective's; what was there of that step goes.

    Raises `RunError` where the disk does not take it, and what reading a tensor raises; then nothing is left behind.
    """
    folder, name = run / FOLDER, part_name(0, 1)
    named = {f"{OBJECTIVE}.{key}": stored for key, stored in tensors.items()}
    try:
        begin(folder, 0, sum(stored.bytes for stored in named.values()), 1, Retention())
        written = _write(temporary_of(folder, 0) / name, named, progress)
        return commit(
            folder,
            [written],
            {},
            Position(step=0, consumed=0),
            Retention(),
            {"config": config, "code": code_versions()},
        )
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        tidy(folder)


def _write(path: Path, tensors: Mapping[str, Stored], progress: Counter | None) -> Written:
    """The file, hashed while it is written. Types of many bytes first, so that all are aligned without gaps."""
    order = sorted(tensors, key=lambda name: (-DTYPES[dtype_name(tensors[name].dtype)], name))
    places, start = {}, 0
    for name in order:
        places[name] = (dtype_name(tensors[name].dtype), tensors[name].shape, start)
        start += tensors[name].bytes
    first = head(places, {"format": f"seer-pipeline-checkpoint/{FORMAT}"})
    digest, done, pieces = hashlib.sha256(first), 0, []
    with path.open("xb", 0) as file:
        _write_all(file.fileno(), memoryview(first))
        for name in order:
            dtype, shape, begins = places[name]
            total = 0
            for row, values in tensors[name].rows():
                content = bytes_of(values)
                _write_all(file.fileno(), content.data)
                digest.update(content.data)
                total += sum_of_rows(content, values.shape[0] if shape else 1, row)
                if progress:
                    progress.update((done + content.size) // _MB - done // _MB)
                done += content.size
            pieces.append((name, dtype, shape, len(first) + begins, (0,) * len(shape), shape, total % MODULUS))
        os.fsync(file.fileno())
    return Written(path.name, len(first) + done, digest.hexdigest(), tuple(pieces))


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]
