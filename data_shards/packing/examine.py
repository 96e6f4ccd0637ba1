"""Looks at every entry of a slice: reads, hashes, checks and treats it, by several threads, and gives them in order.

Threads suffice within a process: reading, hashing and decoding release the interpreter lock. What is in flight is
bounded in bytes, by making the runs of entries that a thread takes shorter as images get larger.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from data_shards import images
from data_shards.errors import ImageError
from data_shards.images import ImageInfo
from data_shards.images.perceptual import hash_image
from data_shards.images.treat import Treatment, treat
from data_shards.packing.settings import PackSettings
from data_shards.readers.reader import Entry, Reader

_RUN_BYTES = 1 << 20  # what a thread takes at once
_RUN_LENGTH = 64


class Examined(NamedTuple):
    """An entry and what was found.

    `reason` is None for a good image; then `info` and `image` are there. `image` is what is stored, and `info` is about
    it; `size`, `digest` (sha256) and `traits` are those of the bytes that were read, `stored` is the sha256 of `image`.
    """

    number: int
    entry: Entry
    image: bytes | None = None
    size: int = 0
    digest: bytes = b""
    info: ImageInfo | None = None
    stored: bytes = b""
    traits: tuple[str, ...] = ()
    perceptual: int = 0
    reason: str | None = None
    detail: str = ""


def examine(
    reader: Reader, entries: Iterable[tuple[int, Entry]], settings: PackSettings, threads: int
) -> Generator[Examined, None, None]:
    """Every entry, in order. Close the iterator to end its threads early."""
    if threads == 1:
        treatment = settings.treatment
        return (_examine(reader, number, entry, settings, treatment) for number, entry in entries)
    return _examine_by(threads, reader, iter(entries), settings)


def cores() -> int:
    """Processor cores that this process may use: threads that pay."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _examine_by(
    threads: int, reader: Reader, entries: Iterator[tuple[int, Entry]], settings: PackSettings
) -> Generator[Examined, None, None]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="examine")
    running: deque[Future[list[Examined]]] = deque()
    length = 1
    try:
        while True:
            while len(running) < 2 * threads + 2 and (run := list(itertools.islice(entries, length))):
                running.append(pool.submit(_examine_run, reader, run, settings))
            if not running:
                return
            done = running.popleft().result()
            mean = sum(examined.size for examined in done) // len(done)
            length = max(1, min(_RUN_LENGTH, _RUN_BYTES // max(mean, 1)))
            yield from done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _examine_run(reader: Reader, run: list[tuple[int, Entry]], settings: PackSettings) -> list[Examined]:
    treatment = settings.treatment
    return [_examine(reader, number, entry, settings, treatment) for number, entry in run]


def _examine(
    reader: Reader, number: int, entry: Entry, settings: PackSettings, treatment: Treatment | None
) -> Examined:
    try:
        image = reader.read(entry)
    except FileNotFoundError:
        return Examined(number, entry, reason="vanished")
    except OSError as error:
        return Examined(number, entry, reason="unreadable", detail=error.strerror or str(error))
    except ImageError as error:
        return Examined(number, entry, reason=error.reason, detail=error.detail)
    digest, size = hashlib.sha256(image).digest(), len(image)
    try:
        found, pixels = images.judge(image, settings.probe, settings.max_pixels)
        look = hash_image(image, found, pixels) if settings.duplicates == "near" else 0
        if treatment is None:
            return Examined(number, entry, image, size, digest, found, digest, found.traits, look)
        stored, info = treat(image, found, treatment)
    except ImageError as error:
        return Examined(number, entry, image, size, digest, reason=error.reason, detail=error.detail)
    name = digest if stored is image else hashlib.sha256(stored).digest()
    return Examined(number, entry, stored, size, digest, info, name, found.traits, look)
