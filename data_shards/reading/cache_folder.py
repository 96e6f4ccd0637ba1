"""The folder of a cache, shared by all processes of a machine and by any of them killed at any moment.

    <name>.tar      a shard, whole and checked; <name>.idx its index
    .<name>.partial a shard that is being written, by the process that has it locked, as long as it will be
    .lock           locked by who looks for room

There is no book that says what is there: the folder is the book. All locks are `flock`, which the system takes back
from a process that ends, however it ends.

- A shard that is open is locked for sharing, so who needs room does not remove it: removed, it would still fill the
  disk, and nobody would know.
- The one who locks a partial file writes it. A partial file that nobody has locked is what a kill has left.
- A partial file counts with the length that it will have: so processes that write at once keep to the bound together.
- The time of change of a shard is that of its last use: the oldest goes first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_shards.reading.store import OpenFile

_TAR, _INDEX, _PARTIAL = ".tar", ".idx", ".partial"
_held: weakref.WeakSet[OpenFile] = weakref.WeakSet()


class CachedFile(OpenFile):
    """A shard of the cache, or a partial one, that is locked as long as it is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor
        self.used = 0.0
        self.touch()
        _held.add(self)

    def touch(self) -> None:
        """It is in use now."""
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(self.descriptor)

    @property
    def index(self) -> Path:
        """The file of its index."""
        return self.path.with_suffix(_INDEX)

    def is_there(self) -> bool:
        """Whether its name still means this file."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False

    def __del__(self) -> None:
        if self.descriptor >= 0:
            self.touch()
        super().__del__()


class CacheFolder:
    """The shards in `folder`, at most `bound` bytes of them. All its functions raise `OSError`."""

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound = folder, bound

    def has(self, name: str) -> bool:
        """Whether a shard is there."""
        return (self.folder / (name + _TAR)).exists()

    def touch(self, name: str) -> bool:
        """Whether a shard is there; if so, it goes later."""
        try:
            os.utime(self.folder / (name + _TAR))
        except FileNotFoundError:
            return False
        except OSError:  # a folder that may only be read
            return self.has(name)
        return True

    def open(self, name: str, size: int) -> CachedFile | None:
        """A shard of `size` bytes, None where it is not there."""
        path = self.folder / (name + _TAR)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        file = CachedFile(path, descriptor)
        if not _lock(descriptor, fcntl.LOCK_SH) or not file.is_there():  # it is being removed
            return None
        if os.fstat(descriptor).st_size != size:  # somebody has cut it off
            path.unlink(missing_ok=True)
            return None
        return file

    def begin(self, name: str) -> CachedFile | None:
        """A partial file to write a shard into; None where another process is about it, or has just been."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f".{name}{_PARTIAL}"
        file = CachedFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        if not _lock(file.descriptor, fcntl.LOCK_EX) or not file.is_there():
            return None
        if self.has(name):
            path.unlink()
            return None
        os.ftruncate(file.descriptor, 0)
        return file

    def reserve(self, file: CachedFile, size: int, spare: Sequence[str] = (), *, urgent: bool) -> int | None:
        """Make room for `size` bytes of a partial file; gives how many shards had to go, None where there is no room.

        Those to `spare` go last, the last one of them first, and only where it is `urgent`.
        """
        with self._locked():
            used, shards = self._look()
            last = {name: -number for number, name in enumerate(spare, 1)}
            shards = [shard for shard in shards if urgent or shard.name not in last]
            if used - sum(shard.size for shard in shards) + size > self.bound:  # not at the price of the others
                return None
            removed = 0
            for shard in sorted(shards, key=lambda shard: (shard.name in last, last.get(shard.name, 0), shard.used)):
                if used + size <= self.bound:
                    break
                if self._remove(shard.name):
                    used, removed = used - shard.size, removed + 1
            if used + size > self.bound:
                return None
            os.ftruncate(file.descriptor, size)
            return removed

    def free(self, size: int) -> int:
        """Remove shards that nobody has open until `size` bytes are free; gives how many."""
        with self._locked():
            freed = removed = 0
            for shard in sorted(self._look()[1], key=lambda shard: shard.used):
                if freed >= size:
                    break
                if self._remove(shard.name):
                    freed, removed = freed + shard.size, removed + 1
            return removed

    def finish(self, file: CachedFile, name: str, index: bytes) -> None:
        """Give a partial file, whole and checked, its name. From now on it is shared."""
        path = self.folder / (name + _TAR)
        os.fsync(file.descriptor)
        with self._locked():  # who looks for room sees both files or neither
            file.index.write_bytes(index)
            os.replace(file.index, path.with_suffix(_INDEX))
            os.replace(file.path, path)
            file.path = path
            fcntl.flock(file.descriptor, fcntl.LOCK_SH)

    def abandon(self, file: CachedFile) -> None:
        """Remove a partial file."""
        with contextlib.suppress(FileNotFoundError):
            if file.is_there():
                file.path.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _look(self) -> tuple[int, list[_Shard]]:
        """Bytes in use and the shards, after what was left by a kill is gone."""
        sizes: dict[str, os.stat_result] = {}
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                sizes[entry.name] = entry.stat()
        used, shards = 0, []
        for name, status in sizes.items():
            if name.endswith(_PARTIAL):
                used += 0 if self._swept(name) else status.st_size
            elif name.endswith(_INDEX):
                stem = name.removesuffix(_INDEX)
                writer = f"{stem}{_PARTIAL}" if name.startswith(".") else f".{stem}{_PARTIAL}"
                if stem + _TAR not in sizes and writer not in sizes:
                    (self.folder / name).unlink(missing_ok=True)
            elif name.endswith(_TAR):
                index = sizes.get(name.removesuffix(_TAR) + _INDEX)
                size = status.st_size + (index.st_size if index is not None else 0)
                shards.append(_Shard(name.removesuffix(_TAR), size, status.st_mtime_ns))
                used += size
        return used, shards

    def _swept(self, name: str) -> bool:
        """Whether a partial file was left by a kill, and is gone now."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError), _opened(path) as descriptor:
            if not _lock(descriptor, fcntl.LOCK_EX):
                return False
            path.unlink()
        return True

    def _remove(self, name: str) -> bool:
        """Remove a shard unless some process has it open."""
        path = self.folder / (name + _TAR)
        with contextlib.suppress(FileNotFoundError), _opened(path) as descriptor:
            if not _lock(descriptor, fcntl.LOCK_EX):
                return False
            path.unlink()
            path.with_suffix(_INDEX).unlink()
        return True


@dataclass(frozen=True, slots=True)
class _Shard:
    """A whole shard: its bytes with its index, and when it was used last."""

    name: str
    size: int
    used: int


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """Lock a file unless another has it locked."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _after_fork() -> None:
    """Close what was inherited: a child that outlives its parent would keep its locks."""
    for file in list(_held):
        descriptor, file.descriptor = file.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
