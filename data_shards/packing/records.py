"""What is remembered of every accepted image of a slice: 40 bytes in a file, so that a billion fit on a disk.

records   in the order of acceptance: hash, perceptual hash, number, which shard it is in, traits
by_hash   the same hashes and numbers, sorted: written when the slice is done, to be merged with other slices
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.durable import AppendFile, write_durably

RECORDS, BY_HASH = "records", "by_hash"

RECORD = np.dtype(
    [("hash", "V16"), ("perceptual", "<u8"), ("number", "<u8"), ("shard", "<u4"), ("traits", "<u4")], align=False
)
"""One accepted image. `hash` is the first half of its sha256; `traits` a bit each, in the order of `images.TRAITS`."""

HASHED = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u8")])
"""One line of `by_hash`, in the order of its fields."""


class Records:
    """The accepted images of a slice so far, and a look-up by hash. `lengths` are those that `sync` gave."""

    def __init__(self, work: Path, lengths: Mapping[str, int]) -> None:
        self.path, length = work / RECORDS, lengths.get(RECORDS, 0)
        self._file = AppendFile(self.path, length)
        known = read_records(self.path) if length else np.empty(0, RECORD)
        self._numbers = dict(zip(map(bytes, known["hash"]), known["number"].tolist(), strict=True))

    def find(self, digest: bytes) -> int | None:
        """The number of the accepted image with this sha256, None where there is none."""
        return self._numbers.get(digest[:16])

    def add(self, digest: bytes, perceptual: int, number: int, shard: int, traits: int) -> None:
        """Note an accepted image."""
        short = digest[:16]
        self._numbers[short] = number
        self._file.append(
            short
            + perceptual.to_bytes(8, "little")
            + number.to_bytes(8, "little")
            + shard.to_bytes(4, "little")
            + traits.to_bytes(4, "little")
        )

    def sync(self) -> dict[str, int]:
        """Bring the file to the disk; gives its length."""
        self._file.sync()
        return {RECORDS: self._file.length}

    def finish(self) -> None:
        """Write `by_hash`."""
        self.sync()
        records = read_records(self.path)
        write_durably(self.path.with_name(BY_HASH), sort_by_hash(records["hash"], records["number"]).tobytes())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> NDArray[np.void]:
    """The records in a file."""
    return np.fromfile(path, RECORD)


def sort_by_hash(hashes: NDArray[np.void], numbers: NDArray[np.uint64]) -> NDArray[np.void]:
    """Hashes (V16) and numbers as lines of `by_hash`."""
    halves = np.ascontiguousarray(hashes).view(">u8").reshape(-1, 2)
    lines = np.empty(len(hashes), HASHED)
    lines["high"], lines["low"], lines["number"] = halves[:, 0], halves[:, 1], numbers
    return lines[np.lexsort((lines["number"], lines["low"], lines["high"]))]
