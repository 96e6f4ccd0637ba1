"""Looks at every listed image: reads, hashes and checks it, by several threads, and gives them in their order.

Threads suffice: reading, hashing and decoding release the interpreter lock. What is in flight is bounded in bytes, by
making the runs of entries that a thread takes shorter as images get larger.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from data_shards import images
from data_shards.errors import ImageError
from data_shards.images import ImageInfo, Probe
from data_shards.readers.reader import Entry, Reader

_RUN_BYTES = 1 << 20  # what a thread takes at once
_RUN_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Examined:
    """An entry and what was found. `reason` is None for a good image; then `info` is there, and `image` always."""

    number: int
    entry: Entry
    image: bytes | None
    hash: str
    info: ImageInfo | None = None
    reason: str | None = None
    detail: str = ""


def examine(reader: Reader, first: int, depth: Probe, max_pixels: int, workers: int) -> Generator[Examined, None, None]:
    """Every entry from number `first` on. Close the iterator to end its threads early."""
    entries = itertools.islice(enumerate(reader.entries()), first, None)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="examine")
    running: deque[Future[list[Examined]]] = deque()
    length = 1
    try:
        while True:
            while len(running) < 2 * workers + 2 and (run := list(itertools.islice(entries, length))):
                running.append(pool.submit(_examine_run, reader, run, depth, max_pixels))
            if not running:
                return
            done = running.popleft().result()
            mean = sum(len(examined.image or b"") for examined in done) // len(done)
            length = max(1, min(_RUN_LENGTH, _RUN_BYTES // max(mean, 1)))
            yield from done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use: threads that pay."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _examine_run(reader: Reader, run: list[tuple[int, Entry]], depth: Probe, max_pixels: int) -> list[Examined]:
    return [_examine(reader, number, entry, depth, max_pixels) for number, entry in run]


def _examine(reader: Reader, number: int, entry: Entry, depth: Probe, max_pixels: int) -> Examined:
    listed = entry._replace(location=None)  # some readers keep the image in it
    try:
        image = reader.read(entry)
    except FileNotFoundError:
        return Examined(number, listed, None, "", reason="vanished")
    except OSError as error:
        return Examined(number, listed, None, "", reason="unreadable", detail=error.strerror or str(error))
    digest = hashlib.sha256(image).hexdigest()
    try:
        info = images.check(image, depth, max_pixels)
    except ImageError as error:
        return Examined(number, listed, image, digest, None, error.reason, error.detail)
    return Examined(number, listed, image, digest, info)
