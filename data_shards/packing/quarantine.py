"""Rejected images of a slice: the originals in a tar, and a line for each in a ledger.

    {"number": 17, "source": "cat/a.jpg", "reason": "truncated", "detail": "…", "bytes": 1234, "hash": "…",
     "tar": "images-000000.tar", "member": "000000017-a"}

Both only grow, so that a journal can cut them back to a length. Without any bytes, `tar` and `member` are null.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from data_shards.durable import AppendFile
from data_shards.packing.examine import Examined
from data_shards.sample import key_for
from data_shards.tar import END, append

FOLDER = "quarantine"
"""In the output directory: the tars of all slices and one ledger."""
IMAGES, LEDGER = "images.tar", "ledger.jsonl"


def tar_name(piece: int) -> str:
    """The final name of the tar of a slice."""
    return f"images-{piece:06d}.tar"


class Quarantine:
    """Takes rejected images and counts them by reason. `lengths` are those a `sync` gave."""

    def __init__(self, work: Path, piece: int, lengths: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        self.piece = piece
        self.reasons = Counter(reasons)
        self._images = AppendFile(work / IMAGES, lengths.get(IMAGES, 0))
        self._ledger = AppendFile(work / LEDGER, lengths.get(LEDGER, 0))

    def add(self, examined: Examined) -> None:
        """Keep a rejected image, as far as its bytes could be had."""
        assert examined.reason is not None
        self.reasons[examined.reason] += 1
        member = None
        if examined.image is not None:
            # No extension: what the bytes are is just what is in doubt.
            member = key_for(examined.number, examined.entry.name)
            parts, _ = append([(member, examined.image)], self._images.length)
            self._images.extend(parts)
        line = {
            "number": examined.number,
            "source": examined.entry.name,
            "reason": examined.reason,
            "detail": examined.detail,
            "bytes": None if examined.image is None else examined.size,
            "hash": examined.digest.hex() or None,
            "tar": None if member is None else tar_name(self.piece),
            "member": member,
        }
        self._ledger.append(json.dumps(line).encode("ascii") + b"\n")

    def sync(self) -> dict[str, int]:
        """Bring both files to the disk; gives their lengths."""
        for file in (self._images, self._ledger):
            file.sync()
        return {IMAGES: self._images.length, LEDGER: self._ledger.length}

    def finish(self) -> None:
        """End the tar."""
        self._images.append(END)
        self.sync()
        self.close()

    def close(self) -> None:
        """Close both files."""
        self._images.close()
        self._ledger.close()
