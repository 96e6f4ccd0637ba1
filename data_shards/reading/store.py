"""Bytes out of shards, by offset, for many threads at once.

Reads are `pread`: they share no file position, and a shard that is cut off under a running job gives a short read, an
error with a name, where a memory map would kill the process. A map gains nothing either: what it saves in copying it
pays in page faults as soon as the bytes are used. A bounded number of files stays open.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from data_shards.errors import ShardError


class OpenFile:
    """A descriptor that closes with its last reader: a thread may still read what another has just put out."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)
        self.used = time.monotonic()

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class ShardStore:
    """Reads ranges of shards, at most `limit` of them open.

    A shard is known by its number: `open_shard` opens it, and may take as long as a download; `place` is its path or
    URL, for people.
    """

    def __init__(self, open_shard: Callable[[int], OpenFile], place: Callable[[int], str], *, limit: int = 256) -> None:
        self._open_shard, self._place, self._limit = open_shard, place, limit
        self._files: OrderedDict[int, OpenFile] = OrderedDict()
        self._opening: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes of a shard from `offset` on. Raises `ShardError`."""
        for last in (False, True):
            file = self.file(shard)  # held until the read is done: another thread may put it out meanwhile
            try:
                data = os.pread(file.descriptor, size, offset)
            except OSError as error:
                if last:
                    given = f"cannot be read ({error.strerror})"
                    raise ShardError(self._place(shard), given, "check its disk") from None
            else:
                if len(data) == size:
                    return data
            self._put_out(shard, file)  # it may have been replaced: a new file, a stale handle of NFS
        raise ShardError(
            self._place(shard),
            f"ends before byte {offset + size}",
            "it was cut off; copy it again, or pack the shards again",
            f"python -m data_shards verify {self._place(shard).rpartition('/')[0]}",
        )

    def file(self, shard: int) -> OpenFile:
        """A shard, open, for as long as the caller holds it. Raises what `open_shard` raises."""
        with self._lock:
            file = self._files.get(shard)
            if file is not None and file.descriptor >= 0:
                file.used = time.monotonic()
                self._files.move_to_end(shard)
                return file
            opening = self._opening.setdefault(shard, threading.Lock())
        with opening:  # two threads do not open, nor fetch, the same shard
            file = self._files.get(shard)
            if file is None or file.descriptor < 0:
                file = self._open_shard(shard)
        with self._lock:
            self._files[shard] = file
            self._opening.pop(shard, None)
            while len(self._files) > self._limit:
                self._files.popitem(last=False)
        return file

    def release(self, seconds: float) -> int:
        """Close what nobody has read for so long, and say how many files stay open."""
        with self._lock:
            now = time.monotonic()
            for shard in [shard for shard, file in self._files.items() if now - file.used >= seconds]:
                del self._files[shard]
            return len(self._files)

    def close(self) -> None:
        """Close the files nobody reads any more."""
        self.release(0)

    def forget(self) -> None:
        """Begin anew in a forked process, whose locks may be held by threads that it does not have."""
        self._lock, self._opening = threading.Lock(), {}

    def _put_out(self, shard: int, file: OpenFile) -> None:
        with self._lock:
            if self._files.get(shard) is file:
                del self._files[shard]
