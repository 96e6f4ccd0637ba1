"""The copy of a process's pieces that a save writes from, while training changes the originals.

One buffer, laid out as the data of the file and taken anew only where its size changes: an asynchronous save takes the
memory of one copy of the shard. Where there is CUDA it is pinned, so that the device copies into it at the bus's rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.checkpoints.pieces import Piece


class Staging:
    """A buffer that is used again for every save."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def copy(self, pieces: Sequence[Piece]) -> Tensor:
        """The bytes of all pieces, one after the other, on the CPU (uint8, 1-D): valid until the next call."""
        size = sum(piece.bytes for piece in pieces)
        cuda = any(piece.tensor.is_cuda for piece in pieces)
        if self._buffer is None or self._buffer.numel() != size or self._buffer.is_pinned() != cuda:
            self._buffer = None  # the old one goes before the new one comes
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=cuda)
        with torch.no_grad():
            for piece, begin in zip(pieces, begins(pieces), strict=True):
                if piece.bytes:
                    there = self._buffer[begin : begin + piece.bytes].view(piece.tensor.dtype).view(piece.sizes)
                    there.copy_(piece.tensor, non_blocking=True)
        if cuda:
            torch.cuda.synchronize()
        return self._buffer


def begins(pieces: Sequence[Piece]) -> Iterator[int]:
    """The first byte of each piece in the buffer."""
    begin = 0
    for piece in pieces:
        yield begin
        begin += piece.bytes
