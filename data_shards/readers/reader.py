"""What a kind of input must do: list its images as a stream, and read one.

Listing never reads an image and never holds the whole source in memory. Reading is done by many threads, out of order.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One listed image. `name` is unique in the source and appears in the metadata; `location` is the reader's own."""

    name: str
    split: str
    label: str | None
    location: Any = None


class Survey(NamedTuple):
    """A source in figures: entries, class names in order, and a hash of the listing by which a change is noticed."""

    entries: int
    classes: tuple[str, ...]
    listing: str


class Reader(abc.ABC):
    """A source of images. Built by its `Config`."""

    @abc.abstractmethod
    def entries(self) -> Iterator[Entry]:
        """The images in an order that is the same every time. Raises `SourceError`."""

    @abc.abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The encoded image. Raises `OSError` or `ImageError` where it cannot be had. Safe for many threads."""

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What a message calls the source: its path or its name."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """The source as plain JSON values, for the manifest. Two sources that give other samples differ here."""

    def survey(self) -> Survey:
        """One pass over the listing."""
        count, labels, listing = 0, set(), hashlib.sha256()
        for entry in self.entries():
            count += 1
            if entry.label is not None:
                labels.add(entry.label)
            listing.update(f"{entry.name}\0{entry.split}\0{entry.label}\n".encode("utf-8", "surrogateescape"))
        return Survey(count, tuple(sorted(labels, key=_natural)), listing.hexdigest())


def _natural(label: str) -> tuple[int, str]:
    """Labels that are numbers sort as numbers."""
    return (int(label), "") if label.isdecimal() and label.isascii() else (1 << 62, label)
