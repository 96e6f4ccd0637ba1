"""Which images were packed before, by their bytes.

Of images with equal bytes the first in the listing is kept, over all splits, so that none of the test images is also
trained on. 16 bytes of each hash are kept, in memory and in a file that a journal can cut back to a length.
"""

from __future__ import annotations

from pathlib import Path

from data_shards.durable import AppendFile

FILE = "hashes"
_BYTES = 16  # two different images share these once in 10^20 for a billion images


class Duplicates:
    """The hashes seen so far. `length` is one that `sync` gave."""

    def __init__(self, work: Path, length: int = 0) -> None:
        self._file = AppendFile(work / FILE, length)
        known = (work / FILE).read_bytes() if length else b""
        self._seen = {known[at : at + _BYTES] for at in range(0, len(known), _BYTES)}

    def add(self, digest: str) -> bool:
        """Note the sha256 of an image; True where it was seen before."""
        short = bytes.fromhex(digest[: 2 * _BYTES])
        if short in self._seen:
            return True
        self._seen.add(short)
        self._file.append(short)
        return False

    def sync(self) -> dict[str, int]:
        """Bring the file to the disk; gives its length."""
        self._file.sync()
        return {FILE: self._file.length}

    def close(self) -> None:
        """Close the file."""
        self._file.close()
