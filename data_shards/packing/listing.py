"""The list of a source: written once, in slices, and read by every process that packs.

    listing.json      entries, classes, length of a slice, a hash by which a change of the source is noticed
    000017.jsonl.gz   the entries of one slice: name, split, label, location, metadata; a line of JSON each

A slice is a fixed range of the listing, so what is made of it does not depend on who makes it. Writing and reading
stream: a billion entries are never in memory.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from data_shards.durable import sync_directory, write_durably
from data_shards.readers.reader import Entry, Reader, sort_classes

_FILE = "listing.json"
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class Listing:
    """The entries of a source, in `folder`. `classes` are the labels in their order."""

    folder: Path
    entries: int
    slice_length: int
    classes: tuple[str, ...]
    hash: str

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return -(-self.entries // self.slice_length)

    def numbers(self, piece: int) -> range:
        """The numbers of the entries of a slice."""
        first = piece * self.slice_length
        return range(first, min(first + self.slice_length, self.entries))

    def read(self, piece: int, first: int = 0) -> Iterator[tuple[int, Entry]]:
        """Number and entry of a slice, from its entry `first` on."""
        with gzip.open(self.folder / _slice_name(piece), "rt", encoding="ascii") as lines:
            numbered = zip(self.numbers(piece), lines, strict=True)
            for number, line in itertools.islice(numbered, first, None):
                yield number, Entry(*json.loads(line))

    @classmethod
    def write(cls, reader: Reader, folder: Path, slice_length: int, seen: Callable[[int], None]) -> Listing:
        """List a source into `folder`, whole or not at all; `seen` is told now and then how many there are."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        labels: set[str] = set()
        listing, count = hashlib.sha256(), 0
        lines = _lines(reader, labels)
        for piece in itertools.count():
            block = list(itertools.islice(lines, slice_length))
            if not block:
                break
            content = b"".join(block)
            listing.update(content)
            count += len(block)
            write_durably(partial / _slice_name(piece), gzip.compress(content, 1))
            seen(count)
        made = cls(folder, count, slice_length, sort_classes(labels), listing.hexdigest())
        fields = {name: value for name, value in asdict(made).items() if name != "folder"}
        write_durably(partial / _FILE, json.dumps(fields).encode())
        os.replace(partial, folder)
        sync_directory(folder.parent)
        return made

    @classmethod
    def load(cls, folder: Path) -> Listing:
        """The listing in `folder`. Raises `FileNotFoundError` where none was finished."""
        fields = json.loads((folder / _FILE).read_bytes())
        return cls(folder, **{**fields, "classes": tuple(fields["classes"])})

    def change(self, reader: Reader) -> str | None:
        """What is different when the source is listed again, as half a sentence; None where it is as it was."""
        changed = change(reader, self.entries, self.hash)
        if changed is None:
            return None
        before = (entry for piece in range(self.slices) for _, entry in self.read(piece))
        pairs = itertools.zip_longest(before, (Entry(*json.loads(line)) for line in _lines(reader, set())))
        for number, (old, new) in enumerate(pairs):
            if old != new:
                was = f"number {number} was {old.name!r}" if old else f"there was no number {number}"
                return f"{changed}: {was} and is now {new.name!r}" if new else f"{changed}: {was} and is gone"
        return changed


def change(reader: Reader, entries: int, digest: str) -> str | None:
    """What is different when a source is listed that had so many entries and this hash; None where it is as it was."""
    listing, count = hashlib.sha256(), 0
    for line in _lines(reader, set()):
        listing.update(line)
        count += 1
    if (count, listing.hexdigest()) == (entries, digest):
        return None
    if count == entries:
        return f"its source lists other images now, though {count:,} as before"
    return f"its source listed {entries:,} images and now lists {count:,}"


def _lines(reader: Reader, labels: set[str]) -> Iterator[bytes]:
    """The entries of a source as lines; their labels are added to `labels`."""
    encode = _JSON.encode
    for entry in reader.entries():
        if entry.label is not None:
            labels.add(entry.label)
        fields = entry if entry.metadata is not None else entry[:4] if entry.location is not None else entry[:3]
        yield encode(fields).encode("ascii") + b"\n"


def _slice_name(piece: int) -> str:
    return f"{piece:06d}.jsonl.gz"
