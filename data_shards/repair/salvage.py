"""What can still be had from a shard that is damaged: the keys of its samples, and those that are whole.

A sample is found through the index, where that describes a tar of the right length without a gap, and by walking the
tar, where after a damaged header the next whole one is searched for. Either may be damaged itself: what counts is that
the image agrees with the sha256 in its metadata.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_shards.checking.members import by_key, in_index, parse_story, restored
from data_shards.manifest import Shard
from data_shards.sample import Sample
from data_shards.tar import BLOCK, Member, header, name_in

_CHUNK = 1 << 20
_MAGIC, _MAGIC_AT = b"ustar", 257  # where it stands in a header


@dataclass
class Salvaged:
    """Keys of all samples in order, None where they cannot be told; the samples that are whole, and what is known of
    the others: metadata, and the sizes in bytes that their members have in the index."""

    keys: list[str] | None = None
    whole: dict[str, list[Member]] = field(default_factory=dict)
    stories: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)


def salvage(directory: Path, shard: Shard, classes: Mapping[str, int]) -> Salvaged:
    """Look through the tar of a shard and the index beside it, either of which may be damaged or missing."""
    indexed = dict(in_index(directory / shard.index_name, shard) or [])
    found = Salvaged(list(indexed) or None)
    found.sizes = {key: [member.size for member in members] for key, members in indexed.items()}
    try:
        descriptor = os.open(directory / shard.name, os.O_RDONLY)
    except OSError:
        return found
    try:
        walked: dict[str, list[Member]] = {}
        for key, members in by_key(walk_on(descriptor, os.fstat(descriptor).st_size)):
            walked.setdefault(key, members)
        if found.keys is None and len(walked) == shard.samples:
            found.keys = list(walked)
        for key in found.keys or walked:
            for place in (walked.get(key), indexed.get(key)):
                if place is not None and _is_whole(descriptor, place, shard.split, classes, found.stories, key):
                    found.whole[key] = place
                    break
    finally:
        os.close(descriptor)
    return found


def read_whole(descriptor: int, members: list[Member], split: str, classes: Mapping[str, int]) -> Sample:
    """The sample at these places of a tar. Raises `ValueError` and `OSError` where it is damaged after all."""
    return restored(((m.name, os.pread(descriptor, m.size, m.offset)) for m in members), split, classes)


def walk_on(descriptor: int, end: int) -> Iterator[Member]:
    """The members of one of our tars, whole headers only; after damage it goes on at the next one, wherever it is."""
    at = 0
    while (place := _next_header(descriptor, at, end)) is not None:
        begin, member = place
        yield member
        at = begin + BLOCK + member.size + -member.size % BLOCK


def _next_header(descriptor: int, at: int, end: int) -> tuple[int, Member] | None:
    """Offset of the first whole header from `at` on, and its member."""
    while at + BLOCK <= end:
        if member := _member(os.pread(descriptor, BLOCK, at), at, end):
            return at, member
        chunk = os.pread(descriptor, _CHUNK, at)
        mark = chunk.find(_MAGIC, _MAGIC_AT)
        while mark >= 0:
            begin = mark - _MAGIC_AT
            if member := _member(chunk[begin : begin + BLOCK], at + begin, end):
                return at + begin, member
            mark = chunk.find(_MAGIC, mark + 1)
        at += max(len(chunk) - BLOCK, 0) + 1
    return None


def _member(block: bytes, at: int, end: int) -> Member | None:
    """The member of a header, which has to be, byte for byte, the one we would write."""
    try:
        name, size = name_in(block), int(block[124:135], 8)
        if len(block) == BLOCK and block == header(name, size) and at + BLOCK + size <= end:
            return Member(name, at + BLOCK, size)
    except (ValueError, AssertionError):  # not a number, or no name of ours
        pass
    return None


def _is_whole(
    descriptor: int,
    members: list[Member],
    split: str,
    classes: Mapping[str, int],
    stories: dict[str, dict[str, Any]],
    key: str,
) -> bool:
    """Whether the sample at these places is; else what its metadata says is kept, where it can be read."""
    with contextlib.suppress(ValueError, OSError):
        read_whole(descriptor, members, split, classes)
        return True
    for member in members:
        if member.name.endswith(".json"):
            with contextlib.suppress(ValueError, OSError):
                stories.setdefault(key, parse_story(os.pread(descriptor, member.size, member.offset)))
    return False
