"""Bytes out of the shards of a directory, by offset, for many threads at once.

Reads are `pread`: they share no file position, and a shard that is cut off under a running job gives a short read, an
error with a name, where a memory map would kill the process. A bounded number of files stays open.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from data_shards.errors import ShardError


class _OpenFile:
    """A descriptor that closes with its last reader: a thread may still read what another has just put out."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class ShardStore:
    """Reads ranges of the files of `directory`, at most `open_files` of them open."""

    def __init__(self, directory: Path, open_files: int = 256) -> None:
        self.directory = Path(directory)
        self._open_files = open_files
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """`size` bytes of a shard from `offset` on. Raises `ShardError`."""
        try:
            file = self._file(shard)  # held until the read is done: another thread may put it out meanwhile
            data = os.pread(file.descriptor, size, offset)
        except FileNotFoundError:
            raise ShardError.missing(self.directory / shard) from None
        except OSError as error:
            raise ShardError(
                str(self.directory / shard), f"cannot be read ({error.strerror})", "check its disk"
            ) from None
        if len(data) != size:
            raise ShardError(
                str(self.directory / shard),
                f"ends before byte {offset + size}",
                "it was cut off; copy it again, or pack the shards again",
                f"python -m data_shards verify {self.directory}",
            )
        return data

    def close(self) -> None:
        """Close the files nobody reads any more."""
        with self._lock:
            self._files.clear()

    def _file(self, shard: str) -> _OpenFile:
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                file = self._files[shard] = _OpenFile(self.directory / shard)
                while len(self._files) > self._open_files:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(shard)
            return file
