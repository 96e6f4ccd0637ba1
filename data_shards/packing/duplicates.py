"""Exact duplicates across slices: which accepted images repeat one of an earlier slice.

Each slice has its hashes sorted in a file. The range of all hashes is cut into parts; of each part the lines of all
slices are read, sorted together, and compared with their neighbours. So a billion hashes pass through memory some
millions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_shards.packing.records import HASHED

_TOGETHER = 1_000_000  # lines that are sorted at once: about 100 MB


class Repeats(NamedTuple):
    """Images to drop (n), and for each the earlier image that it repeats (n), by their numbers."""

    number: NDArray[np.uint64]
    of: NDArray[np.uint64]


def repeats_across(files: Sequence[Path], together: int = _TOGETHER) -> Iterator[Repeats]:
    """What is to be dropped, some of it at a time. `files` are the `by_hash` of all slices.

    Of images with equal hashes the one with the lowest number is kept.
    """
    lengths = [file.stat().st_size // HASHED.itemsize for file in files]
    parts = max(1, -(-sum(lengths) // together))
    bounds = np.array([part * ((1 << 64) // parts) for part in range(1, parts)], np.uint64)
    cuts = np.empty((len(files), parts + 1), np.int64)
    for row, file, length in zip(cuts, files, lengths, strict=True):
        row[0], row[-1] = 0, length
        if parts > 1:
            high = np.ascontiguousarray(np.memmap(file, HASHED, "r")["high"]) if length else np.empty(0, np.uint64)
            row[1:-1] = np.searchsorted(high, bounds)
    for part in range(parts):
        begins, ends = cuts[:, part], cuts[:, part + 1]
        pieces = [
            np.fromfile(file, HASHED, end - begin, offset=int(begin) * HASHED.itemsize)
            for file, begin, end in zip(files, begins.tolist(), ends.tolist(), strict=True)
            if end > begin
        ]
        if pieces:
            yield _repeats_in(np.concatenate(pieces))


def _repeats_in(lines: NDArray[np.void]) -> Repeats:
    lines = lines[np.lexsort((lines["number"], lines["low"], lines["high"]))]
    same = (lines["high"][1:] == lines["high"][:-1]) & (lines["low"][1:] == lines["low"][:-1])
    repeated = np.concatenate(([False], same))
    first = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(lines))))
    return Repeats(lines["number"][repeated], lines["number"][first[repeated]])
