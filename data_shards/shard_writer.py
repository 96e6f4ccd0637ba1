"""Writes the samples of one split into shards, one after another.

Shards grow in a work folder, out of sight. One that is full is closed, brought to the disk, and given its index; where
it goes from there is not decided here.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

from data_shards.durable import AppendFile, write_durably
from data_shards.index import index_line, is_image, join_index, samples_in
from data_shards.manifest import Shard
from data_shards.sample import Sample
from data_shards.shard_hash import hash_to
from data_shards.tar import END, append, size_of


class OpenShard:
    """A tar that is being written, from its beginning or, where `length` is given, from a state that `sync` gave."""

    def __init__(self, path: Path, split: str, length: int = 0) -> None:
        self.path, self.split = path, split
        self.file = AppendFile(path, length)
        self._hash = hashlib.sha256()
        self._index: list[bytes] = []
        if length:
            samples = samples_in(path)
            self._index = [index_line(members) for members in samples]
            with open(path, "rb") as written:
                self._hash = hash_to(written.fileno(), itertools.chain.from_iterable(samples), length)

    @property
    def samples(self) -> int:
        """How many it has so far."""
        return len(self._index)

    def append(self, members: list[tuple[str, bytes]], digest: bytes | None = None) -> None:
        """Add the members (name, content) of one sample. With `digest` only the first is an image, and that its sha256."""
        parts, placed = append(members, self.file.length)
        self._index.append(index_line(placed))
        self.file.extend(parts)
        if digest is not None:
            parts[1] = digest
        else:
            for number, (name, content) in enumerate(members):
                if is_image(name):
                    parts[3 * number + 1] = hashlib.sha256(content).digest()
        self._hash.update(b"".join(parts))

    def finish(self, first_index: int = 0) -> Shard:
        """Close the tar, bring it to the disk and write its index beside it."""
        self.file.append(END)
        self._hash.update(END)
        self.file.sync()
        self.file.close()
        size, digest = self.file.length, self._hash.hexdigest()
        done = Shard(self.path.name, self.split, self.samples, size, digest, first_index)
        write_durably(self.path.with_name(done.index_name), join_index(self._index))
        return done


class ShardWriter:
    """Appends samples of `split` to `<split>-0000.tar` and on; a shard ends before it exceeds either limit."""

    def __init__(self, split: str, work: Path, max_samples: int, max_bytes: int) -> None:
        self.split, self.work = split, work
        self.max_samples, self.max_bytes = max_samples, max_bytes
        self.finished = 0
        self._open: OpenShard | None = None

    @property
    def name(self) -> str:
        """The shard that takes the next sample, unless that is one too many for it."""
        return f"{self.split}-{self.finished:04d}.tar"

    def append(self, sample: Sample) -> Shard | None:
        """Add a sample. Gives the shard that was finished before it, if one was."""
        members, shard = sample.members(), None
        if self._open is not None and not self._has_room(members):
            shard = self.finish()
        if self._open is None:
            self._open = OpenShard(self.work / self.name, self.split)
        self._open.append(members, sample.digest)
        return shard

    def finish(self) -> Shard | None:
        """Close the open shard; None where there is none."""
        if self._open is None:
            return None
        shard = self._open.finish()
        self._open = None
        self.finished += 1
        return shard

    def sync(self) -> dict[str, int]:
        """Bring the open shard to the disk; gives its name and its length."""
        if self._open is None:
            return {}
        self._open.file.sync()
        return {self.name: self._open.file.length}

    def resume(self, finished: int, lengths: dict[str, int]) -> None:
        """Go on from a state that `sync` gave, with so many shards finished before."""
        self.finished = finished
        if self.name in lengths:
            self._open = OpenShard(self.work / self.name, self.split, lengths[self.name])

    def close(self) -> None:
        """Close the open file without finishing it."""
        if self._open is not None:
            self._open.file.close()

    def _has_room(self, members: list[tuple[str, bytes]]) -> bool:
        assert self._open is not None
        size = self._open.file.length + size_of(members) + len(END)
        return self._open.samples < self.max_samples and size <= self.max_bytes
