"""What a kind of input must do: list its images as a stream, and read one.

Listing never reads an image and never holds the whole source in memory. Reading is done by many threads of many
processes, out of order; each process builds the reader anew from its config.
"""

from __future__ import annotations

import abc
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from data_shards.errors import ImageError

REASONS = {
    "not_found": "the server has nothing at this URL (HTTP 404, 410)",
    "forbidden": "the server does not let us have it (HTTP 401, 403)",
    "timed_out": "the server did not answer in time, several times over",
    "unreachable": "no connection to the server, or it failed several times over (HTTP 429, 5xx)",
    "encrypted": "a member of an archive that needs a password",
    "too_many_bytes": "a file of more than 256 MiB, which no image that is worth its place has",
    "unpackable": "a member of an archive that does not unpack, or not to what its checksum promises",
}
"""Every reason an `ImageError` from `read` can carry, and what it means. A file that is not there raises `OSError`."""


MAX_BYTES = 256 << 20
"""Bytes of the largest file that is read as an image."""


class Entry(NamedTuple):
    """One listed image. `name` appears in its metadata; `location` is the reader's own.

    `location` and `metadata` are plain JSON values: other processes read them from the listing. `metadata` goes into
    the sample's `.json`.
    """

    name: str
    split: str
    label: str | None
    location: Any = None
    metadata: dict[str, Any] | None = None


class Reader(abc.ABC):
    """A source of images. Built by its `Config`, which it keeps as `config`."""

    config: Any
    waits: bool = False
    """Whether reading waits for a network, so that many reads at once pay."""

    @abc.abstractmethod
    def entries(self) -> Iterator[Entry]:
        """The images in an order that is the same every time. Raises `SourceError`."""

    @abc.abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The encoded image. Safe for many threads.

        Raises `OSError` or `ImageError` where it cannot be had, and `SourceError` where that is true of many.
        """

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What a message calls the source: its path or its name."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """The source as plain JSON values, for the manifest. Two sources that give other samples differ here."""


def read_file(path: str) -> bytes:
    """An image file. Raises `OSError`, and `ImageError` where it is far too large for one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size > MAX_BYTES:
            raise ImageError("too_many_bytes", f"{size}, the limit is {MAX_BYTES}")
        content = os.read(descriptor, size + 1)  # one byte more, to see that it ends there
        while len(content) != size and (more := os.read(descriptor, MAX_BYTES)):
            content += more
        return content
    finally:
        os.close(descriptor)


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Class names in their order: numbers as numbers, then the others as text."""
    return tuple(sorted(labels, key=_natural))


def held_out(name: str, share: float) -> bool:
    """Whether a name belongs to the share that is moved to the split "test"; it depends on nothing else."""
    if not share:
        return False
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def check_holdout(share: float) -> None:
    """Raises `ValueError` for what is no share to hold out."""
    if not 0 <= share < 1:
        raise ValueError(f"holdout is a share from 0 to below 1, not {share}")


def _natural(label: str) -> tuple[int, str]:
    return (int(label) if label.isdecimal() and label.isascii() else 1 << 62, label)
