"""Members of a tar that share a key, back into the sample they were made of.

A sample says enough about itself to be checked alone: its metadata holds the sha256 of the image, the name of its label
and its format. So one whose image agrees is whole wherever it was found, also in a tar that is damaged elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from data_shards.images import EXTENSIONS
from data_shards.index import VERSION
from data_shards.manifest import Shard
from data_shards.sample import Sample, number_of
from data_shards.tar import BLOCK, END, Member


def restored(
    members: Iterable[tuple[str, bytes]], split: str, classes: Mapping[str, int], digest: bytes | None = None
) -> Sample:
    """The sample whose members (name, content) these are; `classes` gives the number of each label.

    Needs the image and the metadata only; the other members follow from them. `digest` is the sha256 of the image where
    it is known. Raises `ValueError` with what is wrong, as a half sentence.
    """
    found = {name.partition(".")[2]: (name, content) for name, content in members}
    if "json" not in found:
        raise ValueError("it has no metadata")
    name, text = found["json"]
    story = parse_story(text)
    extension = EXTENSIONS.get(str(story.get("format")))
    if extension not in found:
        raise ValueError("it has no image")
    image = found[extension][1]
    digest = digest or hashlib.sha256(image).digest()
    if digest.hex() != story.get("sha256"):
        raise ValueError("its image is not the one of its metadata (sha256)")
    if story.get("split") != split:
        raise ValueError(f"it belongs to the split {story.get('split')!r}")
    label = story.get("label")
    if label is not None and not (isinstance(label, str) and label in classes):
        raise ValueError(f"its label {label!r} is none of the classes")
    key = name.partition(".")[0]
    number = None if label is None else classes[label]
    return Sample(key=key, image=image, label=number, split=split, metadata=story, digest=digest)


def parse_story(text: bytes) -> dict[str, Any]:
    """The metadata of a sample. Raises `ValueError`."""
    try:
        story = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its metadata is no JSON") from None
    if not isinstance(story, dict):
        raise ValueError("its metadata is no mapping")
    return story


def by_key(members: Iterable[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Members of our own tars, those that follow one another under one key together."""
    for key, group in groupby(members, lambda member: member.name.partition(".")[0]):
        yield key, list(group)


def in_index(path: Path, shard: Shard) -> list[tuple[str, list[Member]]] | None:
    """Key and members of each sample in an index; None where it is not one of a tar like this shard."""
    try:
        head, *lines = path.read_bytes().decode("ascii").splitlines()
        rows = [line.split(" ") for line in lines]
        samples = [[Member(r[n + 3], int(r[n + 1]), int(r[n + 2])) for n in range(0, len(r), 4)] for r in rows]
    except (OSError, ValueError, IndexError):
        return None
    at = 0
    for member in (member for members in samples for member in members):
        if member.offset != at + BLOCK or member.size < 0:
            return None
        at = member.offset + member.size + -member.size % BLOCK
    keyed = [(key, group) for members in samples for key, group in by_key(members)]
    whole = head == f"{VERSION.decode()} {shard.samples}" and at + len(END) == shard.bytes
    return keyed if whole and len({key for key, _ in keyed}) == len(rows) == shard.samples else None


def number_in(key: str) -> int | None:
    """The number that a key begins with, None where it is no key of ours."""
    try:
        return number_of(key)
    except ValueError:
        return None
