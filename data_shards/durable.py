"""Files that are there completely or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a file through a temporary name, fsync and rename."""
    temporary = path.with_name(f".{path.name}.partial")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Rename a file that is already on the disk."""
    os.replace(source, target)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_TOGETHER = 1 << 20  # bytes that are written at once
_PARTS = 512  # and parts: the system takes 1024


class AppendFile:
    """A file that only grows, and that a journal can cut back to a length it had."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Open `path`, cut to `length` bytes. It is created only where `length` is 0. Raises `OSError`."""
        self.path = path
        if length and path.stat().st_size < length:
            raise OSError(errno.EIO, f"has fewer than the {length} bytes that the journal knows", str(path))
        self._file = open(path, "r+b" if length else "wb", 0)  # noqa: SIM115  # closed by close()
        self._file.truncate(length)
        self._file.seek(length)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.length = length

    def append(self, content: bytes) -> None:
        """Add bytes at the end; they are safe only after `sync`."""
        self.extend([content])

    def extend(self, parts: list[bytes]) -> None:
        """Add the bytes of all parts, at most 512, which are not joined: large ones are never copied."""
        assert len(parts) <= _PARTS, len(parts)
        size = sum(map(len, parts))
        self._waiting += parts
        self._waiting_bytes += size
        self.length += size
        if self._waiting_bytes >= _TOGETHER or len(self._waiting) >= _PARTS:
            self._write()

    def sync(self) -> None:
        """Bring the file to the disk."""
        self._write()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. A full disk is no error here: what was not synced is not counted on."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self) -> None:
        waiting, size = self._waiting, self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        if waiting and (written := os.writev(self._file.fileno(), waiting)) < size:
            rest = memoryview(b"".join(waiting))[written:]  # a disk that is nearly full, or a signal
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
