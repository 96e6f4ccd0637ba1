"""Threads that run tasks in turn, and say at any moment which sample each of them holds, and since when.

They are daemons: one that never comes back, from a decoder or from the read of a file whose server is gone, keeps
nobody from ending the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Holding:
    """What one thread is at, for others to look at, and what it has done since it began."""

    sample: tuple[int, int] | None = None
    """Shard and number within it; None between tasks."""
    since: float = 0.0
    """`time.perf_counter()` when its reading or decoding began."""
    is_read: bool = False
    """Whether its bytes are there, so that it is being decoded."""
    rows: int = 0
    bytes: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0

    def take(self, shard: int, sample: int) -> None:
        """Begin to read a sample."""
        self.sample, self.is_read, self.since = (shard, sample), False, time.perf_counter()

    def has_read(self) -> None:
        """Its bytes are there; decoding begins."""
        now = time.perf_counter()
        self.read_seconds += now - self.since
        self.is_read, self.since = True, now

    def finish(self, size: int) -> None:
        """A row is finished, of an image of `size` bytes."""
        self.write_seconds += time.perf_counter() - self.since
        self.rows += 1
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Work:
    """What threads have done, added up; seconds on the clock."""

    rows: int = 0
    bytes: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0

    @classmethod
    def of(cls, holdings: Iterable[Holding]) -> Work:
        """That of some threads."""
        return sum((cls(h.rows, h.bytes, h.read_seconds, h.write_seconds) for h in holdings), cls())

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, name) + getattr(other, name) for name in Work.__slots__))

    def __sub__(self, other: Work) -> Work:
        return Work(*(getattr(self, name) - getattr(other, name) for name in Work.__slots__))


Task = tuple[Callable[..., Any], tuple[Any, ...], Future[Any]]


class Workers:
    """`count` threads. Tasks begin in the order in which they were submitted."""

    def __init__(self, count: int) -> None:
        self.holdings = tuple(Holding() for _ in range(count))
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=_work, args=(self._tasks, holding), name=f"loader-{number}", daemon=True)
            for number, holding in enumerate(self.holdings)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def rows(self) -> int:
        """Rows finished so far."""
        return sum(holding.rows for holding in self.holdings)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a thread call `function(holding, *arguments)`, with its own holding."""
        future: Future[T] = Future()
        self._tasks.put((function, arguments, future))
        return future

    def end(self) -> None:
        """Let the threads end once they are done; returns at once."""
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait for all threads to end."""
        for thread in self._threads:
            thread.join()

    def __del__(self) -> None:
        self.end()


def _work(tasks: SimpleQueue[Task | None], holding: Holding) -> None:
    while (task := tasks.get()) is not None:
        function, arguments, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(holding, *arguments))
            except BaseException as error:
                future.set_exception(error)
        holding.sample = None
        del task, function, arguments, future  # the arrays of a batch are not held while waiting for the next task
