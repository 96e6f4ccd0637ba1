"""The source of a shard set once more: its entries by number, name or key, and the samples that packing made of them.

The listing may have changed since: an entry counts where its name is the one in the metadata, or makes the key of the
sample. Only where neither is known is its number believed. Whoever asks compares what comes out with a hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from data_shards import readers
from data_shards.errors import SourceError
from data_shards.images import EXTENSIONS
from data_shards.manifest import Manifest
from data_shards.packing.examine import examine
from data_shards.packing.settings import PackSettings
from data_shards.packing.slice_packer import sample_of
from data_shards.readers.reader import Entry, Reader
from data_shards.sample import Sample, key_for


class UnavailableError(Exception):
    """An image that the source does not give any more. Its text says why, as a half sentence."""


@dataclass
class Wanted:
    """What is looked for in the listing: numbers by name and by key, and whole ranges (split, first, last)."""

    names: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    ranges: list[tuple[str, int, int]] = field(default_factory=list)


class Origin:
    """The source of a shard set. `why` says why it cannot be read; None where it can."""

    def __init__(self, manifest: Manifest) -> None:
        self.classes = {name: number for number, name in enumerate(manifest.classes)}
        self.reader: Reader | None = None
        self.why: str | None = None
        config = manifest.source.get("reader")
        if not isinstance(config, Mapping):
            self.why = "the manifest does not say how its source is read"
            return
        try:
            self.settings = PackSettings.of({**manifest.settings, "exclude": ()})
            self.reader = readers.reader_from(config)
        except SourceError as error:
            self.why = f"its source is not at hand ({error.where}: {error.given})"
        except (KeyError, TypeError, ValueError):
            self.why = "the manifest tells of its source in the words of another version"

    def find(self, wanted: Wanted) -> dict[int, Entry]:
        """The entries that are wanted, by number: one pass over the listing. Raises `SourceError`."""
        ranged: dict[int, Entry] = {}
        named: dict[int, Entry] = {}
        exact: dict[int, Entry] = {}
        moved: dict[int, list[Entry]] = {}
        if self.reader is None or not (wanted.names or wanted.keys or wanted.ranges):
            return {}
        slugs: dict[str, list[int]] = {}
        for key, number in wanted.keys.items():
            slugs.setdefault(_slug(key), []).append(number)
        for place, entry in enumerate(self.reader.entries()):
            if entry.name in wanted.names:
                named[wanted.names[entry.name]] = entry
            if slugs:
                key = key_for(place, entry.name)
                if key in wanted.keys:
                    exact[place] = entry
                for number in slugs.get(_slug(key), ()):
                    moved.setdefault(number, []).append(entry)
            if any(split == entry.split and first <= place <= last for split, first, last in wanted.ranges):
                ranged[place] = entry
        return {number: entries[0] for number, entries in moved.items() if len(entries) == 1} | ranged | named | exact

    def sample(self, number: int, entry: Entry, key: str | None = None, story: dict[str, Any] | None = None) -> Sample:
        """The sample that packing makes of an entry; or the one with this key and metadata, where these are known.

        Raises `UnavailableError`.
        """
        assert self.reader is not None
        try:
            (found,) = examine(self.reader, [(number, entry)], self.settings, threads=1)
        except SourceError as error:
            raise UnavailableError(f"its source is not at hand ({error.where}: {error.given})") from None
        if found.reason is not None:
            detail = f" ({found.detail})" if found.detail else ""
            raise UnavailableError(f"its source gives it no more: {found.reason}{detail}")
        assert found.image is not None
        if story is None:
            if entry.label is not None and entry.label not in self.classes:
                raise UnavailableError(f"its source has changed: its label is {entry.label!r} now")
            sample = sample_of(found, self.classes)
            return sample if key is None else replace(sample, key=key)
        label = story.get("label")
        if found.stored.hex() != story.get("sha256"):
            raise UnavailableError("its source has other bytes now")
        if str(story.get("format")) not in EXTENSIONS or not (label is None or str(label) in self.classes):
            raise UnavailableError("its metadata is damaged")
        labelled = None if label is None else self.classes[str(label)]
        key = key or key_for(found.number, entry.name)
        return Sample(
            key=key, image=found.image, label=labelled, split=entry.split, metadata=story, digest=found.stored
        )


def _slug(key: str) -> str:
    return key.partition("-")[2]
