"""One image on its way into a shard, and how it lies in a tar: the WebDataset convention.

A sample is a run of members that share a key and differ in extension:

    000000017-tabby_cat.jpg     the encoded image, byte for byte as it was found unless a treatment was asked for
    000000017-tabby_cat.cls     its class as a decimal number; absent where it has none
    000000017-tabby_cat.json    source, sha256, width, height, format, split, and label by name

The key begins with the place of the image in the listing of the source: unique, in order, and the same on every run.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from data_shards.images import EXTENSIONS

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_JSON = json.JSONEncoder(separators=(",", ":"))
_quote = json.encoder.encode_basestring_ascii
_SLUG_LENGTH = 60  # of the 100 characters a ustar name holds


def key_for(number: int, name: str) -> str:
    """The key of entry `number` of a listing; the end of its name stays readable, without dots or separators."""
    slug = _UNSAFE.sub("_", name.rpartition(".")[0] or name)[-_SLUG_LENGTH:].strip("_-")
    return f"{number:09d}-{slug}" if slug else f"{number:09d}"


def number_of(key: str) -> int:
    """The number that a key, or the name of a member, begins with."""
    return int(key.partition("-")[0].partition(".")[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An accepted image. `metadata` holds plain JSON values, among them `format`."""

    key: str
    image: bytes
    label: int | None
    split: str
    metadata: dict[str, Any] = field(default_factory=dict)
    digest: bytes | None = None
    """sha256 of `image`, where it is known."""

    def members(self) -> list[tuple[str, bytes]]:
        """Name and bytes of each tar member, the image first."""
        members = [(f"{self.key}.{EXTENSIONS[self.metadata['format']]}", self.image)]
        if self.label is not None:
            members.append((f"{self.key}.cls", b"%d" % self.label))
        members.append((f"{self.key}.json", _encode(self.metadata).encode("ascii")))
        return members


def _encode(metadata: dict[str, Any]) -> str:
    """JSON; by hand for the common values, as an encoder costs more than everything else about a sample."""
    values = (v if type(v) is int else _quote(v) if type(v) is str else _JSON.encode(v) for v in metadata.values())
    return "{" + ",".join([f"{_quote(name)}:{value}" for name, value in zip(metadata, values, strict=True)]) + "}"
