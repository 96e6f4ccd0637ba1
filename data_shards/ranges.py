"""File objects over anything that gives bytes: by offset, or one after the other."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import Any


class Ranges(io.RawIOBase):
    """`length` bytes, read by `read(offset, size)`. It holds no more than its caller asks for."""

    def __init__(self, read: Callable[[int, int], bytes], length: int, name: str) -> None:
        self._read, self._length, self._at, self.name = read, length, 0, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._length - self._at))
        block = self._read(self._at, wanted) if wanted else b""
        if len(block) != wanted:
            raise OSError(errno.EIO, f"ends at byte {self._at + len(block)} of {self._length}", self.name)
        buffer[:wanted] = block
        self._at += wanted
        return wanted


class Sequence(io.RawIOBase):
    """Bytes that `read(size)` gives once, from the first to the last."""

    def __init__(self, read: Callable[[int], bytes], close: Callable[[], None]) -> None:
        self._read, self._close = read, close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
