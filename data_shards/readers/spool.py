"""Local, unpacked copies of archives that cannot be read by offset where they are: remote and compressed ones.

Each is fetched and unpacked once, in one stream, into the cache folder, under a name made of its address and state; a
resumed run finds it there, and so does every process. Where the folder grows beyond its bound, the copies that were
used least recently go; one that is asked for again is made again. What is plain and local is read where it is.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import lzma
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any

from data_shards import remote
from data_shards.errors import SourceError
from data_shards.ranges import Ranges
from data_shards.readers.patterns import PIPE, is_local

CACHE = "~/.cache/data_shards"
CACHE_BYTES = 100_000_000_000
_BLOCK = 1 << 20
_OPEN = 64  # files that stay open
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


Pipe = Callable[[str], AbstractContextManager[io.BufferedReader]]
"""Opens `pipe:command`."""


class Spool:
    """Reads archives by offset, for many threads at once; `bound` is in bytes."""

    def __init__(self, folder: str, bound: int, pipe: Pipe) -> None:
        self.folder, self.bound, self.pipe = Path(folder).expanduser() / "archives", bound, pipe
        self._files: OrderedDict[str, OpenArchive] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def read(self, archive: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises `OSError` and `SourceError`."""
        file = self.open(archive)  # held until the read is done
        data = os.pread(file.descriptor, size, offset)
        if len(data) != size:
            raise OSError(errno.EIO, f"ends before byte {offset + size}", archive)
        return data

    def open(self, archive: str) -> OpenArchive:
        """The archive, open as a plain file, made where it is not there. Raises `OSError` and `SourceError`."""
        with self._lock:
            file = self._files.get(archive)
            if file is not None:
                self._files.move_to_end(archive)
                return file
            making = self._making.setdefault(archive, threading.Lock())
        with making:  # two threads do not fetch the same archive
            file = self._files.get(archive) or self._make(archive)
        with self._lock:
            self._files[archive] = file
            while len(self._files) > _OPEN:
                self._files.popitem(last=False)
            return file

    def _make(self, archive: str) -> OpenArchive:
        if is_local(archive):
            with open(archive, "rb") as stream:
                if _unpacker(stream.read(6)) is None:
                    return OpenArchive(archive)
        try:
            copy = self.folder / f"{_identity(archive)}.archive"
        except OSError as error:
            raise SourceError(archive, f"cannot be read ({error.strerror})", "check its address") from None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / f".{copy.name}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # two processes do not fetch the same archive
                return self._kept(copy) or self._new(archive, copy)
        except OSError as error:
            given = f"cannot keep a copy of {archive} ({error.strerror or error})"
            raise SourceError(str(self.folder), given, "free some space, or set cache= to another folder") from None

    def _kept(self, copy: Path) -> OpenArchive | None:
        try:
            os.utime(copy)
            return OpenArchive(str(copy))
        except FileNotFoundError:
            return None

    def _new(self, archive: str, copy: Path) -> OpenArchive:
        try:
            _fetch(archive, copy, self.pipe)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._make_room(copy, 0):
                raise
            _fetch(archive, copy, self.pipe)
        file = OpenArchive(str(copy))
        self._make_room(copy, self.bound)
        return file

    def _make_room(self, newest: Path, bound: int) -> int:
        """Remove the copies used least recently, and say how many; who reads one still keeps it until it is closed."""
        copies, removed = [], 0
        for path in self.folder.glob("*.archive"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                copies.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total > bound and path != newest:
                path.unlink(missing_ok=True)
                total, removed = total - size, removed + 1
        return removed


class OpenArchive:
    """An open file that closes with its last reader: a thread may still read what another has just put out."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.descriptor).st_size

    def stream(self) -> io.BufferedReader:
        """A file object of its own, with a position of its own."""
        return io.BufferedReader(Ranges(lambda offset, size: os.pread(self.descriptor, size, offset), self.size, ""))

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def size_of(archive: str) -> int | None:
    """Bytes of an archive as it is; None where that is not known beforehand. Raises `SourceError`."""
    try:
        if is_local(archive):
            return os.path.getsize(archive)
        return None if archive.startswith(PIPE) else remote.size(archive)
    except OSError as error:
        raise SourceError(archive, f"cannot be read ({error.strerror})", "check its address") from None


def _fetch(archive: str, copy: Path, pipe: Pipe) -> None:
    unfinished = copy.with_name(f".{copy.name}.partial")
    try:
        with open(unfinished, "wb") as target:
            for block in _blocks(archive, pipe):
                target.write(block)
        os.replace(unfinished, copy)
    finally:
        unfinished.unlink(missing_ok=True)


def _blocks(archive: str, pipe: Pipe) -> Iterator[bytes]:
    """The bytes of an archive, without the compression around them. Raises `SourceError`."""
    done = 0
    try:
        with ExitStack() as stack:
            if archive.startswith(PIPE):
                stream = stack.enter_context(pipe(archive))
            else:
                stream = stack.enter_context(_open(archive))
            unpack = _unpacker(stream.peek(6))
            source: IO[bytes] = stack.enter_context(unpack(stream)) if unpack else stream
            while block := source.read(_BLOCK):
                yield block
                done += len(block)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(
            archive, f"cannot be read beyond byte {done} ({what})", "copy it again, or leave it out"
        ) from None


def _open(archive: str) -> io.BufferedReader:
    return open(archive, "rb") if is_local(archive) else remote.open_stream(archive)


def _unpacker(head: bytes) -> Any:
    """What unpacks a file that begins so, None where it is not packed."""
    return next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)


def _identity(archive: str) -> str:
    """Another one for another archive, and for one that has changed."""
    state: Any = None
    if is_local(archive):
        status = os.stat(archive)
        archive, state = os.path.realpath(archive), [status.st_size, status.st_mtime_ns]
    elif not archive.startswith(PIPE):
        state = remote.state(archive)
    return hashlib.sha256(json.dumps([archive, state]).encode()).hexdigest()[:32]
