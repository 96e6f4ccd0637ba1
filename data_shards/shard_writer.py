"""Writes the samples of one split into shards, one after another.

A shard grows in the work folder, out of sight. When it is full it is closed, brought to the disk, given its index, and
moved into place; what lies in the output directory is always whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from data_shards.durable import AppendFile, move_durably, write_durably
from data_shards.index import samples_in, write_index
from data_shards.manifest import Shard
from data_shards.sample import Sample
from data_shards.tar import END, Member, append


@dataclass(slots=True)
class _OpenShard:
    name: str
    file: AppendFile
    hash: hashlib._Hash
    samples: list[list[Member]]


class ShardWriter:
    """Appends samples of `split`; a shard ends before it exceeds `samples` samples or `bytes` bytes."""

    def __init__(self, split: str, work: Path, out: Path, max_samples: int, max_bytes: int) -> None:
        self.split, self.work, self.out = split, work, out
        self.max_samples, self.max_bytes = max_samples, max_bytes
        self.finished: list[Shard] = []
        self._open: _OpenShard | None = None

    def append(self, sample: Sample) -> Shard | None:
        """Add a sample. Gives the shard that was finished before it, if one was."""
        members, shard = sample.members(), None
        if self._open is not None:
            content, placed = append(members, self._open.file.length)
            if (
                len(self._open.samples) >= self.max_samples
                or self._open.file.length + len(content) + len(END) > self.max_bytes
            ):
                shard = self.finish()
        if self._open is None:
            name = self._next_name()
            self._open = _OpenShard(name, AppendFile(self.work / name), hashlib.sha256(), [])
            content, placed = append(members, 0)
        self._open.samples.append(placed)
        self._open.file.append(content)
        self._open.hash.update(content)
        return shard

    def finish(self) -> Shard | None:
        """Close the open shard and move it into place; None where there is none."""
        shard = self._open
        if shard is None:
            return None
        shard.file.append(END)
        shard.hash.update(END)
        shard.file.sync()
        shard.file.close()
        first = sum(finished.samples for finished in self.finished)
        done = Shard(shard.name, self.split, len(shard.samples), shard.file.length, shard.hash.hexdigest(), first)
        write_durably(self.out / done.index_name, write_index(shard.samples))
        move_durably(self.work / shard.name, self.out / shard.name)
        self.finished.append(done)
        self._open = None
        return done

    def sync(self) -> dict[str, int]:
        """Bring the open shard to the disk; gives its name and its length."""
        if self._open is None:
            return {}
        self._open.file.sync()
        return {self._open.name: self._open.file.length}

    def resume(self, finished: list[Shard], lengths: dict[str, int]) -> None:
        """Go on from a state that `sync` gave."""
        self.finished = finished
        name = self._next_name()
        if name not in lengths:
            return
        path = self.work / name
        if not path.exists() and (self.out / name).exists():  # it was finished, but the journal did not hear of it
            move_durably(self.out / name, path)
        file = AppendFile(path, lengths[name])
        digest = hashlib.sha256()
        with open(path, "rb") as written:
            while block := written.read(1 << 20):
                digest.update(block)
        self._open = _OpenShard(name, file, digest, samples_in(path))

    def close(self) -> None:
        """Close the open file without finishing it."""
        if self._open is not None:
            self._open.file.close()

    def _next_name(self) -> str:
        return f"{self.split}-{len(self.finished):06d}.tar"
