"""Rejected images: the originals in `quarantine/images.tar`, and a line for each in `quarantine/ledger.jsonl`.

    {"number": 17, "source": "cat/a.jpg", "reason": "truncated", "detail": "…", "bytes": 1234, "hash": "…", …}

The tar and the ledger only grow, so that a journal can cut both back to a length.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from data_shards.durable import AppendFile, move_durably, sync_directory
from data_shards.examine import Examined
from data_shards.sample import key_for
from data_shards.tar import END, append

FOLDER = "quarantine"
IMAGES, LEDGER = "images.tar", "ledger.jsonl"


class Quarantine:
    """Takes rejected images and counts them by reason. `lengths` are those a `sync` gave."""

    def __init__(self, work: Path, out: Path, lengths: dict[str, int], reasons: dict[str, int]) -> None:
        self.out = out / FOLDER
        self.reasons = Counter(reasons)
        for name in (IMAGES, LEDGER):
            if lengths.get(name) and not (work / name).exists() and (self.out / name).exists():
                move_durably(self.out / name, work / name)  # it was finished, but the journal did not hear of it
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
            content, _ = append([(member, examined.image)], self._images.length)
            self._images.append(content)
        line = {
            "number": examined.number,
            "source": examined.entry.name,
            "reason": examined.reason,
            "detail": examined.detail,
            "bytes": None if examined.image is None else len(examined.image),
            "hash": examined.hash or None,
            "member": member,
        }
        self._ledger.append(json.dumps(line).encode("ascii") + b"\n")

    def sync(self) -> dict[str, int]:
        """Bring both files to the disk; gives their lengths."""
        for file in (self._images, self._ledger):
            file.sync()
        return {IMAGES: self._images.length, LEDGER: self._ledger.length}

    def finish(self) -> None:
        """Move both files into place, where there is anything in them."""
        self._images.append(END)
        self.sync()
        self.close()
        if not self.reasons:
            return
        self.out.mkdir(exist_ok=True)
        for file in (self._images, self._ledger):
            move_durably(file.path, self.out / file.path.name)
        sync_directory(self.out.parent)

    def close(self) -> None:
        """Close both files."""
        self._images.close()
        self._ledger.close()
