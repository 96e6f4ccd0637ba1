"""Processes that pack the slices of a packing, each one slice at a time, until none is free.

A slice belongs to whoever holds its lease, so the processes of this machine and those of others need not know of each
other. One slice, or one worker, is packed in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized, SynchronizedArray
from pathlib import Path

from data_shards.errors import OutputError
from data_shards.packing.examine import cores
from data_shards.packing.folder import Packing
from data_shards.packing.lease import Lease
from data_shards.packing.slice_packer import Tick, pack_slice
from data_shards.progress import Progress

_MANY = 16  # reads at once that pay where each waits for a network
_FIELDS = ("now", "bytes", "quarantined", "seen")  # of a worker: images of its slice, then sums over all its slices
_SHOW_SECONDS = 0.3
_LOOK_SECONDS = 5.0  # between looks at what was packed elsewhere


class _Stopped(Exception):  # noqa: N818  # no error
    """The parent wants an end, or is gone."""


def pack_slices(packing: Packing, progress: Progress) -> None:
    """Pack slices until each is packed or in other hands. Raises what a worker raised, and `OutputError`."""
    left = sum(not packing.is_done(piece) for piece in range(packing.listing.slices))
    processes = min(packing.settings.workers or cores(), left)
    threads = packing.settings.threads or _threads(packing, max(1, processes))
    show = _Show(packing, progress)
    if processes <= 1:
        tally = [0] * len(_FIELDS)
        _take_slices(packing, threads, _ticker(tally, lambda: show(tally)))
        show(tally, now=True)
        return
    context = multiprocessing.get_context("spawn")
    tally_of_all = context.Array("q", processes * len(_FIELDS))
    turn, stop = context.Value("i", 0), context.Value("b", 0)
    arguments = (str(packing.out), threads, os.getpid(), tally_of_all, turn, stop)
    with ProcessPoolExecutor(processes, context, _start, arguments) as pool:
        running = [pool.submit(_run) for _ in range(processes)]
        try:
            while wait(running, _SHOW_SECONDS, FIRST_EXCEPTION).not_done:
                show(tally_of_all[:])
                if any(future.done() and future.exception() for future in running):
                    break
        finally:
            stop.value = 1
        failures = [failure for future in running if (failure := future.exception()) is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, _Stopped | BrokenProcessPool)):
        if isinstance(failure, BrokenProcessPool):
            raise OutputError(
                str(packing.out),
                "a worker was killed, perhaps for want of memory",
                "repeat the command, it goes on where it stopped; fewer workers= take less memory",
            ) from None
        raise failure
    show(tally_of_all[:], now=True)


def _threads(packing: Packing, processes: int) -> int:
    """Threads that pay in each of so many processes."""
    return _MANY if packing.reader.waits else max(1, cores() // processes)


def _take_slices(packing: Packing, threads: int, tick: Tick) -> None:
    """Pack one free slice after another, from a random one on: others do the same."""
    count = packing.listing.slices
    while True:
        taken, first = False, random.randrange(count) if count > 1 else 0
        for piece in (*range(first, count), *range(first)):
            if packing.is_done(piece):
                continue
            with Lease.take(packing.folder(piece)) as lease:
                if lease is not None and not packing.is_done(piece):
                    pack_slice(packing, piece, lease.work, threads, tick)
                    tick({})
                    taken = True
        if not taken:
            return


def _ticker(tally: list[int] | _Slots, after: Callable[[], None]) -> Tick:
    """Keeps a tally of a worker up to date; an empty count ends a slice."""
    before = {"bytes": 0, "quarantined": 0, "listed": 0}

    def tick(counts: dict[str, int]) -> None:
        if counts:
            if counts["listed"] - before["listed"] != 1:  # a slice that was begun by another
                before.update({name: counts[name] for name in before}, listed=counts["listed"] - 1)
            tally[0] = counts["listed"]
            tally[1] += counts["bytes"] - before["bytes"]
            tally[2] += counts["quarantined"] - before["quarantined"]
            tally[3] += 1
            before.update({name: counts[name] for name in before})
        else:
            tally[0] = 0
            before.update(bytes=0, quarantined=0, listed=0)
        after()

    return tick


class _Show:
    """Brings tallies to the progress bar, now and then."""

    def __init__(self, packing: Packing, progress: Progress) -> None:
        self.packing, self.progress = packing, progress
        self.began = self.shown = time.monotonic()
        self.looked = 0.0
        self.packed = self._packed()
        if progress.total is None:
            progress.total = packing.listing.entries
            progress.start_at(self.packed)

    def __call__(self, tally: list[int], now: bool = False) -> None:
        moment = time.monotonic()
        if moment - self.shown < _SHOW_SECONDS and not now:
            return
        self.shown = moment
        if moment - self.looked > _LOOK_SECONDS or now:
            self.packed, self.looked = self._packed(), moment
        under_way, read, bad, seen = (sum(tally[at :: len(_FIELDS)]) for at in range(len(_FIELDS)))
        done = min(self.packed + under_way, self.packing.listing.entries)
        rate = f"{read / 1e6 / max(moment - self.began, 1e-3):,.0f}"
        self.progress.update(
            max(0, done - self.progress.done), **{"MB/s": rate, "rejected": f"{bad / max(seen, 1):.1%}"}
        )

    def _packed(self) -> int:
        listing = self.packing.listing
        return sum(len(listing.numbers(piece)) for piece in range(listing.slices) if self.packing.is_done(piece))


class _Slots:
    """The part of a shared array that belongs to one worker."""

    def __init__(self, array: SynchronizedArray[int], worker: int) -> None:
        self._array, self._first = array.get_obj(), worker * len(_FIELDS)

    def __getitem__(self, at: int) -> int:
        return int(self._array[self._first + at])

    def __setitem__(self, at: int, value: int) -> None:
        self._array[self._first + at] = value


_worker: Callable[[], None]
"""What this process does, where it is a worker."""


def _start(
    out: str,
    threads: int,
    parent: int,
    tally: SynchronizedArray[int],
    turn: Synchronized[int],
    stop: Synchronized[int],
) -> None:
    """Make this process a worker."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1

    def check() -> None:
        if stop.value or os.getppid() != parent:
            raise _Stopped

    def run() -> None:
        _take_slices(Packing.load(Path(out)), threads, _ticker(_Slots(tally, number), check))

    _worker = run


def _run() -> None:
    _worker()
