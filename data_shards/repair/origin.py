"""The source of a shard set once more: its entries by number, name or key, and the samples that packing made of them.

The listing may have changed since: an entry counts where its name is the one in the metadata, or makes the key of the
sample. Only where neither is known is its number believed. Whoever asks compares what comes out with a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data_shards import images, readers
from data_shards.errors import ImageError, SourceError
from data_shards.manifest import Manifest
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
        self.settings = manifest.settings
        self.reader: Reader | None = None
        self.why: str | None = None
        config = manifest.source.get("reader")
        if not isinstance(config, Mapping):
            self.why = "the manifest does not say how its source is read"
            return
        try:
            self.reader = readers.reader_from(config)  # type: ignore[attr-defined]
        except SourceError as error:
            self.why = f"its source is not at hand ({error.where}: {error.given})"

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
        image = self._read(entry)
        digest = hashlib.sha256(image).hexdigest()
        if story is not None and digest == story.get("sha256") and str(story.get("format")) in images.EXTENSIONS:
            story, label = dict(story), story.get("label")
        else:
            if story is not None and digest not in (story.get("sha256"), story.get("original_sha256")):
                raise UnavailableError("its source has other bytes now")
            story, label = self._story(entry, image, digest), entry.label
        if label is not None and str(label) not in self.classes:
            raise UnavailableError(f"its source has changed: its label is {label!r} now")
        return Sample(
            key=key or key_for(number, entry.name),
            image=image,
            label=None if label is None else self.classes[str(label)],
            split=entry.split,
            metadata=story,
        )

    def _read(self, entry: Entry) -> bytes:
        assert self.reader is not None
        try:
            return self.reader.read(entry)
        except FileNotFoundError:
            raise UnavailableError("its source has no such image any more") from None
        except OSError as error:
            raise UnavailableError(f"its source cannot be read ({error.strerror or error})") from None
        except ImageError as error:
            raise UnavailableError(f"its source has changed: the image is {error.reason}") from None

    def _story(self, entry: Entry, image: bytes, digest: str) -> dict[str, Any]:
        """The metadata that packing gives an image."""
        depth = self.settings.get("probe", self.settings.get("check", "strict"))
        try:
            info = images.check(image, depth, self.settings.get("max_pixels", images.MAX_PIXELS))
        except ImageError as error:
            raise UnavailableError(f"its source has changed: the image is {error.reason}") from None
        height, width = info.upright
        story: dict[str, Any] = {"source": entry.name, "sha256": digest, "format": info.format}
        story |= {"width": width, "height": height, "split": entry.split}
        return story if entry.label is None else story | {"label": entry.label}


def _slug(key: str) -> str:
    return key.partition("-")[2]
