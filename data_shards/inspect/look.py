"""A bounded look into a shard set: figures of some samples of each split, evenly spread, and pictures of a few.

The figures come from the metadata beside each image, so no image is read for them. However large the set is, at most
`SHARDS` indices of a split are read, and `SAMPLES` samples.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_shards.checking.members import in_index, parse_story
from data_shards.errors import ShardError
from data_shards.index import samples_in
from data_shards.manifest import Manifest, Shard
from data_shards.stream import ShardSet
from data_shards.tar import Member

SHARDS, SAMPLES = 64, 2000
EXACT_LABELS = 100_000  # samples of a split up to which every label is counted


@dataclass(frozen=True, slots=True)
class Look:
    """One sample as its metadata describes it; `image` is where it lies in the tar `shard`."""

    shard: str
    image: Member
    source: str
    label: str | None
    format: str
    width: int
    height: int


@dataclass
class SplitLook:
    """What was seen of a split. `unread` names shards that are missing or damaged."""

    split: str
    samples: int
    shards: int
    looks: list[Look] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    labels_are_exact: bool = False

    @property
    def weight(self) -> float:
        """How many samples of the split each one that was looked at stands for."""
        return self.samples / max(1, len(self.looks))


def look(directory: Path, manifest: Manifest, split: str) -> SplitLook:
    """Look at some samples of a split; a shard that cannot be read is named and passed over."""
    shards = manifest.of(split)
    found = SplitLook(split, manifest.samples(split), len(shards))
    chosen = [shards[place] for place in _spread(len(shards), SHARDS)]
    share = SAMPLES / max(1, sum(shard.samples for shard in chosen))
    for shard in chosen:
        try:
            found.looks += _look_into(directory, shard, max(1, round(min(1.0, share) * shard.samples)))
        except (OSError, ValueError):
            found.unread.append(shard.name)
    if manifest.classes:
        _count_labels(directory, manifest, found)
    return found


def spread(looks: list[Look], count: int) -> list[Look]:
    """At most `count` of them, evenly spaced."""
    return [looks[place] for place in _spread(len(looks), count)]


def read_image(directory: Path, look: Look) -> bytes:
    """The image of a sample that was looked at. Raises `OSError`."""
    with open(directory / look.shard, "rb", buffering=0) as file:
        return os.pread(file.fileno(), look.image.size, look.image.offset)


def _look_into(directory: Path, shard: Shard, count: int) -> list[Look]:
    """Some samples of a shard."""
    path = directory / shard.name
    indexed = in_index(directory / shard.index_name, shard)
    samples = [members for _, members in indexed] if indexed else samples_in(path)
    looks = []
    with open(path, "rb", buffering=0) as file:
        for place in _spread(len(samples), count):
            members = {member.name.rpartition(".")[2]: member for member in samples[place]}
            if "json" not in members:
                raise ValueError("a sample without metadata")
            story = parse_story(os.pread(file.fileno(), members["json"].size, members["json"].offset))
            label = story.get("label")
            try:
                looks.append(
                    Look(
                        shard.name,
                        samples[place][0],
                        str(story["source"]),
                        None if label is None else str(label),
                        str(story["format"]),
                        max(1, int(story["width"])),
                        max(1, int(story["height"])),
                    )
                )
            except (KeyError, TypeError):
                raise ValueError("a sample without its figures") from None
    return looks


def _count_labels(directory: Path, manifest: Manifest, found: SplitLook) -> None:
    """Every label where the split is small, else those of the samples that were looked at, scaled up."""
    if found.samples <= EXACT_LABELS and not found.unread:
        try:
            shard_set = ShardSet(directory, found.split)
            labels, counts = np.unique(shard_set.labels(), return_counts=True)
            shard_set.close()
            names = [manifest.classes[label] if label >= 0 else "" for label in labels.tolist()]
        except (ShardError, IndexError):
            pass
        else:
            found.labels.update(dict(zip(names, counts.tolist(), strict=True)))
            found.labels_are_exact = True
            return
    for label, count in Counter(look.label or "" for look in found.looks).items():
        found.labels[label] = round(float(f"{count * found.weight:.2g}"))  # no digit that is not known


def _spread(length: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64)).tolist() if length else []
