"""The file of one process: a safetensors file, hashed while it is written, brought to the disk.

A piece of a sharded tensor is called `NAME@ROW,…` in it, after where it begins. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.checkpoints.head import head
from pipeline.checkpoints.pieces import Piece
from pipeline.checkpoints.rows import sum_of_rows
from pipeline.checkpoints.staging import begins

_AT_ONCE = 16 << 20  # bytes


@dataclass(frozen=True)
class Written:
    """A file on the disk, and what the index needs to know of each piece in it."""

    name: str
    bytes: int
    sha256: str
    pieces: tuple[tuple[str, str, tuple[int, ...], int, tuple[int, ...], tuple[int, ...], int], ...]
    """Name, dtype, shape, first byte in the file, offsets, sizes, sum of rows."""


def part_name(rank: int, world: int) -> str:
    """The file of process `rank` of `world`."""
    return f"part-{rank:05d}-of-{world:05d}.safetensors"


def write_part(path: Path, pieces: Sequence[Piece], buffer: Tensor, metadata: Mapping[str, str]) -> Written:
    """Write the bytes in `buffer` (see Staging) and hash them meanwhile, in two threads. Raises `OSError`."""
    begin = list(begins(pieces))
    first = head(
        {piece.key: (piece.dtype, piece.sizes, start) for piece, start in zip(pieces, begin, strict=True)}, metadata
    )
    content: NDArray[np.uint8] = buffer.numpy()
    with ThreadPoolExecutor(2, thread_name_prefix="checkpoint-hash") as pool:
        digest = pool.submit(_sha256, first, content)
        sums = pool.submit(_sums, pieces, begin, content)
        _write(path, first, content)
        described = tuple(
            (piece.name, piece.dtype, piece.shape, len(first) + start, piece.offsets, piece.sizes, total)
            for piece, start, total in zip(pieces, begin, sums.result(), strict=True)
        )
        return Written(path.name, len(first) + content.size, digest.result(), described)


def _write(path: Path, first: bytes, content: NDArray[np.uint8]) -> None:
    with open(path, "xb", 0) as file:
        _write_all(file.fileno(), memoryview(first))
        view = content.data
        for start in range(0, len(view), _AT_ONCE):
            _write_all(file.fileno(), view[start : start + _AT_ONCE])
        os.fsync(file.fileno())


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]


def _sha256(first: bytes, content: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(first)
    digest.update(content.data)
    return digest.hexdigest()


def _sums(pieces: Sequence[Piece], begin: Sequence[int], content: NDArray[np.uint8]) -> list[int]:
    return [
        sum_of_rows(
            content[start : start + piece.bytes],
            piece.sizes[0] if piece.sizes else 1,
            piece.offsets[0] if piece.offsets else 0,
        )
        for piece, start in zip(pieces, begin, strict=True)
    ]
