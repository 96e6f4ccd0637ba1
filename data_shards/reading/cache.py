"""Shards that lie at a URL, on the disk of this machine: whole, checked, and at most so many bytes of them.

A reader that asks for a shard waits until it is there. So that it seldom waits, `expect` names the shards that will be
asked for, and threads fetch them meanwhile. Several processes, also of several runs, share one folder
(`cache_folder.py`): what one of them fetches is there for all, and who wants what another is fetching waits for it.

A shard that is open cannot be removed. So nobody keeps one open that he does not read: after two seconds it is closed.
Who needs room therefore gets it, though the bound be smaller than what all processes read at once; only slowly.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_shards.errors import OutputError, UserError
from data_shards.reading.cache_folder import CachedFile, CacheFolder
from data_shards.reading.fetch import DiskError, StoppedError, Wanted, fetch

FOLDER = "~/.cache/data_shards"
_IDLE = 2.0  # seconds after which a shard that is not read is closed
_LOOK = 0.05  # seconds between two looks for what another process does
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Where shards from a URL are kept, and how they are fetched. Shards in a directory need none of it."""

    folder: str = FOLDER
    """Folder on a disk of this machine; all its processes and runs may share it."""
    bytes: int = 100_000_000_000
    """Most bytes kept there; the shards used least recently go first."""
    downloads: int = 4
    """Shards that one process fetches ahead at the same time."""
    patience: float = 900.0
    """Seconds for which a server that does not answer is asked again, before the run stops."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a process had from its cache since it began; all zeros for shards in a directory."""

    hits: int = 0
    """Shards that were there when they were asked for."""
    misses: int = 0
    """Shards that a reader had to wait for."""
    ahead: int = 0
    """Shards that were fetched before they were asked for."""
    bytes: int = 0
    """Bytes that were fetched."""
    wait: float = 0.0
    """Seconds that readers waited for shards, added up over threads."""
    evicted: int = 0
    """Shards that this process removed to make room."""


class ShardCache:
    """Opens shards through the folder of the cache. Safe for many threads, and after a fork.

    `release(seconds)` closes the files that were not read for so long, and says how many are open.
    """

    def __init__(self, settings: CacheSettings, release: Callable[[float], int]) -> None:
        self.settings, self._release = settings, release
        path = Path(settings.folder).expanduser()
        self.folder = CacheFolder(path / "shards", settings.bytes)
        self._statistics = Statistics()
        self._expected: tuple[str, ...] = ()
        self._queue: deque[Wanted] = deque()
        self._failed: dict[str, UserError] = {}
        self.forget()

    def forget(self) -> None:
        """Begin anew in a forked process, which has none of the threads."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._watch: threading.Thread | None = None

    def open(self, wanted: Wanted) -> CachedFile:
        """The shard, fetched where it is not there. Raises `ShardError`, `SourceError` and `OutputError`."""
        try:
            file = self.folder.open(wanted.name, wanted.size)
            if file is not None:
                self._count(hits=1)
            else:
                began = time.monotonic()
                file = self._get(wanted)
                self._count(misses=1, wait=time.monotonic() - began)
        except OSError as error:
            raise self._sentence(error) from None
        self._start_watch()
        return file

    def expect(self, shards: Sequence[Wanted]) -> None:
        """Fetch these ahead of their use, the first one first, in place of those that were expected before."""
        names = tuple(shard.name for shard in shards)
        with self._lock:
            self._closed.clear()
            if names != self._expected:
                self._expected, self._queue = names, deque(shards)
                self._failed.clear()
            for _ in range(min(len(self._queue), self.settings.downloads - len(self._threads))):
                thread = threading.Thread(target=self._fetch_ahead, name="shards ahead", daemon=True)
                self._threads.add(thread)
                thread.start()

    def statistics(self) -> Statistics:
        """What it gave and cost so far."""
        with self._lock:
            return self._statistics

    def close(self) -> None:
        """End the fetching; what is half fetched is dropped."""
        with self._lock:
            self._closed.set()
            self._queue.clear()
            self._expected = ()
            threads = [*self._threads, *([self._watch] if self._watch is not None else [])]
        for thread in threads:
            thread.join(timeout=1.0)  # one that asks a silent server goes on asking, and ends with the process

    def _get(self, wanted: Wanted) -> CachedFile:
        """The shard, now: fetched here, or by whoever has begun to."""
        if wanted.size > self.settings.bytes:
            given = f"keeps at most {self.settings.bytes} bytes, and {wanted.url} has {wanted.size}"
            raise OutputError(str(self.folder.folder), given, "give the cache more bytes")
        with self._lock:
            self._failed.pop(wanted.name, None)  # that was then; one that happens while this waits counts
        full_since: float | None = None
        while True:
            try:
                file = self._try(wanted, self._count_bytes, urgent=True)
                full_since = None
            except _NoRoomError:
                file, now = None, time.monotonic()
                full_since = full_since or now
                if now - full_since > self.settings.patience:
                    given = f"has no room for the {wanted.size} bytes of {wanted.url}: all in it is being read"
                    raise OutputError(str(self.folder.folder), given, "give the cache more bytes") from None
                self._release(0)  # what this process itself keeps open
            file = file or self.folder.open(wanted.name, wanted.size)
            if file is not None:
                return file
            time.sleep(_LOOK)
            with self._lock:
                failure = self._failed.pop(wanted.name, None)
            if failure is not None:
                raise failure

    def _try(self, wanted: Wanted, on_bytes: Callable[[int], None], *, urgent: bool) -> CachedFile | None:
        """Fetch it; None where somebody else does. Raises `_NoRoomError`."""
        file = self.folder.begin(wanted.name)
        if file is None:
            return None
        try:
            removed = self.folder.reserve(file, wanted.size, self._expected, urgent=urgent)
            if removed is None:
                raise _NoRoomError
            self._count(evicted=removed)
            try:
                index = fetch(wanted, file.descriptor, self.settings.patience, on_bytes)
            except DiskError as error:
                removed = self.folder.free(wanted.size) if error.error.errno in _FULL else 0
                self._count(evicted=removed)
                if not removed:
                    raise error.error from None
                index = fetch(wanted, file.descriptor, self.settings.patience, on_bytes)
            self.folder.finish(file, wanted.name, index)
            return file
        except BaseException as error:
            self.folder.abandon(file)
            raise error.error if isinstance(error, DiskError) else error from None

    def _fetch_ahead(self) -> None:
        """Fetch what is expected until there is no more, or no room."""
        try:
            while (wanted := self._next()) is not None:
                try:
                    if not self.folder.touch(wanted.name) and self._try(wanted, self._go_on, urgent=False) is not None:
                        self._count(ahead=1)
                except UserError as error:
                    with self._lock:
                        self._failed[wanted.name] = error
        except _NoRoomError:
            with self._lock:
                if wanted is not None and wanted.name in self._expected:
                    self._queue.appendleft(wanted)  # until the next call of `expect`
        except (OSError, StoppedError):  # who reads it will meet the same, and say so
            pass
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _next(self) -> Wanted | None:
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def _go_on(self, size: int) -> None:
        if self._closed.is_set():
            raise StoppedError
        self._count_bytes(size)

    def _count_bytes(self, size: int) -> None:
        self._count(bytes=size)

    def _count(self, **more: float) -> None:
        with self._lock:
            now = self._statistics
            self._statistics = replace(now, **{name: getattr(now, name) + value for name, value in more.items()})

    def _start_watch(self) -> None:
        with self._lock:
            self._closed.clear()
            if self._watch is None:
                self._watch = threading.Thread(target=self._close_idle, name="idle shards", daemon=True)
                self._watch.start()

    def _close_idle(self) -> None:
        """Close what is not read, until nothing has been open for a while."""
        nothing = 0
        while not self._closed.wait(_IDLE / 2) and nothing < 3:
            nothing = 0 if self._release(_IDLE) else nothing + 1
        with self._lock:
            self._watch = None

    def _sentence(self, error: OSError) -> OutputError:
        folder, why = str(self.folder.folder), error.strerror or str(error)
        if error.errno in _FULL:
            return OutputError(folder, f"cannot take another shard ({why})", "free some space, or set its bytes lower")
        return OutputError(folder, f"cannot be used as a cache ({why})", "give a folder on a disk of this machine")


class _NoRoomError(Exception):
    """All shards in the folder are being read or written, or are to be spared."""
